package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// All pods together are one group, and every thread of the runtime and the kubelet counts as much as a group has
	// by itself: on a busy node the pods would get next to nothing.
	podsWeight = 4
)

// What the kubelet wants the kernel to be set to. These settings are the whole machine's: instead of changing
// them, each is covered, in this container alone, by a file that already says what is wanted.
var tunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

func machine() error {
	if err := syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("mounts cannot be shared: %w", err)
	}
	for name, wanted := range tunables {
		covered := filepath.Join("/proc/sys", name)
		cover := filepath.Join("/run/tunables", strings.ReplaceAll(name, "/", "."))
		if !exists(covered) {
			continue
		}
		if err := os.MkdirAll("/run/tunables", 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(cover, []byte(wanted+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(cover, covered, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s cannot be covered: %w", covered, err)
		}
	}
	for _, setting := range []string{"net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet"} {
		if err := os.WriteFile("/proc/sys/"+setting, []byte("1\n"), 0o644); err != nil {
			return err
		}
	}
	if !exists("/dev/kmsg") {
		if err := os.Symlink("/dev/null", "/dev/kmsg"); err != nil {
			return err
		}
	}
	if !exists("/etc/machine-id") {
		random, err := os.ReadFile("/proc/sys/kernel/random/uuid")
		if err != nil {
			return err
		}
		id := strings.ReplaceAll(strings.TrimSpace(string(random)), "-", "")
		return os.WriteFile("/etc/machine-id", []byte(id+"\n"), 0o444)
	}
	return nil
}

// cgroups makes the group /kubelet that kind's configuration names, in every hierarchy; it tells their version.
func cgroups() (int, error) {
	if exists(cgroupRoot + "/cgroup.controllers") {
		return 2, unified()
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return 1, err
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[2] != "cgroup" || !strings.HasPrefix(fields[1], cgroupRoot+"/") {
			continue
		}
		group := filepath.Join(fields[1], "kubelet")
		if err := os.MkdirAll(group, 0o755); err != nil {
			return 1, err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // empty ones let nobody in
			if content, err := os.ReadFile(filepath.Join(fields[1], file)); err == nil {
				if err := os.WriteFile(filepath.Join(group, file), content, 0o644); err != nil {
					return 1, err
				}
			}
		}
		if err := weigh(filepath.Join(group, "cpu.shares"), 1024*podsWeight); err != nil {
			return 1, err
		}
	}
	return 1, nil
}

// unified: a group that hands controllers on may hold no process itself, so this one moves aside first.
func unified() error {
	own := cgroupRoot + "/init"
	if err := os.MkdirAll(own, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(own+"/cgroup.procs", []byte("0"), 0o644); err != nil {
		return err
	}
	controllers, err := os.ReadFile(cgroupRoot + "/cgroup.controllers")
	if err != nil {
		return err
	}
	for _, controller := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(cgroupRoot+"/cgroup.subtree_control", []byte("+"+controller), 0o644); err != nil {
			say("controller %s stays here: %v", controller, err)
		}
	}
	if err := os.MkdirAll(cgroupRoot+"/kubelet", 0o755); err != nil {
		return err
	}
	return weigh(cgroupRoot+"/kubelet/cpu.weight", 100*podsWeight)
}

// weigh sets a group's part of the processors, where that hierarchy knows one.
func weigh(file string, weight int) error {
	if !exists(file) {
		return nil
	}
	return os.WriteFile(file, []byte(strconv.Itoa(weight)), 0o644)
}
