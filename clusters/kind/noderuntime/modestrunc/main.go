// Command modestrunc stands in front of runc and asks for no more than this machine may give.
//
// Where CAP_SYS_RESOURCE is missing, runc fails on what a privileged container asks for: capabilities
// outside the bounding set, rlimits above the own hard limits, an OOM score below the own. These, and only
// these, are taken out of the bundle's config.json (create, run) or the process file (exec) before runc reads it.
// Where nothing is missing the files stay as they are. Needed on the host and again inside every node.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// The kernel's names by number, capability(7).
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
	SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
	AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
	CHECKPOINT_RESTORE`)

const sysResource = 24

func main() {
	runc, err := exec.LookPath("runc")
	if err != nil {
		fail(err)
	}
	if bounding := boundingSet(); bounding&(1<<sysResource) == 0 {
		if err := lessen(os.Args[1:], bounding); err != nil {
			fail(err)
		}
	}
	fail(syscall.Exec(runc, append([]string{runc}, os.Args[1:]...), os.Environ()))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "modestrunc:", err)
	os.Exit(1)
}

func boundingSet() uint64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if hex, found := strings.CutPrefix(line, "CapBnd:\t"); found {
			set, _ := strconv.ParseUint(hex, 16, 64)
			return set
		}
	}
	return ^uint64(0)
}

// lessen rewrites the file that this invocation of runc is going to read, if it reads one.
func lessen(arguments []string, bounding uint64) error {
	command, arguments := verb(arguments)
	bundle, process := ".", ""
	for i, argument := range arguments {
		name, value, joined := strings.Cut(argument, "=")
		if !joined && i+1 < len(arguments) {
			value = arguments[i+1]
		}
		switch name {
		case "--bundle", "-b":
			bundle = value
		case "--process", "-p":
			process = value
		}
	}
	switch {
	case command == "create" || command == "run":
		return rewrite(filepath.Join(bundle, "config.json"), func(spec map[string]any) {
			if inner, ok := spec["process"].(map[string]any); ok {
				modest(inner, bounding)
			}
		})
	case command == "exec" && process != "":
		return rewrite(process, func(spec map[string]any) { modest(spec, bounding) })
	}
	return nil
}

// verb finds what runc is asked to do, behind its own options, some of which have a value; and the words after it.
func verb(arguments []string) (string, []string) {
	for i := 0; i < len(arguments); i++ {
		switch arguments[i] {
		case "--log", "--log-format", "--root", "--criu", "--rootless":
			i++
		default:
			if !strings.HasPrefix(arguments[i], "-") {
				return arguments[i], arguments[i+1:]
			}
		}
	}
	return "", nil
}

func rewrite(path string, change func(map[string]any)) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec map[string]any
	reader := json.NewDecoder(bytes.NewReader(content))
	reader.UseNumber()
	if err := reader.Decode(&spec); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	change(spec)
	if content, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

func modest(process map[string]any, bounding uint64) {
	if sets, ok := process["capabilities"].(map[string]any); ok {
		for name, value := range sets {
			if wanted, ok := value.([]any); ok {
				sets[name] = allowed(wanted, bounding)
			}
		}
	}
	if limits, ok := process["rlimits"].([]any); ok && len(limits) > 0 {
		delete(process, "rlimits") // the node's own are inherited
	}
	if number, ok := process["oomScoreAdj"].(json.Number); ok {
		if score, err := number.Int64(); err == nil && score < ownScore() {
			process["oomScoreAdj"] = ownScore()
		}
	}
}

func allowed(wanted []any, bounding uint64) []any {
	kept := make([]any, 0, len(wanted))
	for _, entry := range wanted {
		for number, name := range capabilities {
			if entry == "CAP_"+name && bounding&(1<<number) != 0 {
				kept = append(kept, entry)
			}
		}
	}
	return kept
}

func ownScore() int64 {
	content, _ := os.ReadFile("/proc/self/oom_score_adj")
	score, _ := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	return score
}
