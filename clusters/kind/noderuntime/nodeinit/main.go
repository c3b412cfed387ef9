// Command nodeinit is the first process of a node: it makes the container a machine, then keeps two programs running.
//
// What kind asks of a node image, as far as we need it: one line in the log that says that the cgroups are ready, a
// container runtime at /run/containerd/containerd.sock, and a kubelet that starts once kubeadm has written its
// configuration. There is no systemd; kubeadm finds no init system, says so and goes on, and the loop below starts
// the kubelet. Images lie as archives below /kind/images and are imported before the kubelet starts.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	socket       = "/run/containerd/containerd.sock"
	kubeletFlags = "/var/lib/kubelet/kubeadm-flags.env"
	kubeletFile  = "/var/lib/kubelet/config.yaml"
	poll         = 50 * time.Millisecond
	again        = time.Second
)

func main() {
	go endWhenTold()
	must(machine())
	generation := must1(cgroups())
	keep("containerd", func() []string { return []string{"containerd"} })
	waitFor(func() bool { return answers(socket) })
	say("detected cgroup v%d", generation)
	if generation == 2 {
		say("Reached target Multi-User System") // the words kind waits for where cgroups are unified
	}
	importImages()
	waitFor(func() bool { return exists(kubeletFile) && exists(kubeletFlags) })
	keep("kubelet", kubelet)
	select {}
}

func say(format string, values ...any) { fmt.Printf("nodeinit: "+format+"\n", values...) }

func must(err error) {
	if err != nil {
		say("%v", err)
		os.Exit(1)
	}
}

func must1[T any](value T, err error) T {
	must(err)
	return value
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func waitFor(condition func() bool) {
	for !condition() {
		time.Sleep(poll)
	}
}

func answers(path string) bool {
	connection, err := net.Dial("unix", path)
	if err == nil {
		connection.Close()
	}
	return err == nil
}

// endWhenTold: the first process of a PID namespace takes everything else with it.
func endWhenTold() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.Signal(37)) // 37: what systemd images stop by
	<-signals
	os.Exit(0)
}

func kubelet() []string {
	arguments := []string{
		"kubelet", "--config=" + kubeletFile, "--kubeconfig=/etc/kubernetes/kubelet.conf",
		"--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
	}
	content, _ := os.ReadFile(kubeletFlags)
	_, flags, _ := strings.Cut(strings.TrimSpace(string(content)), "=")
	return append(arguments, strings.Fields(strings.Trim(flags, `"`))...)
}

// keep runs a program, and runs it again whenever it ends; its output goes to /var/log.
func keep(name string, arguments func() []string) {
	log := must1(os.OpenFile("/var/log/"+name+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))
	go func() {
		for {
			command := arguments()
			say("starting %s", strings.Join(command, " "))
			status := run(command, log)
			say("%s ended: %v", name, status)
			time.Sleep(again)
		}
	}()
}

func importImages() {
	archives, _ := filepath.Glob("/kind/images/every/*.tar")
	if os.Getenv("KUBECONFIG") != "" { // kind gives it to the nodes of the control plane alone
		control, _ := filepath.Glob("/kind/images/control-plane/*.tar")
		archives = append(control, archives...)
	}
	for _, archive := range archives {
		began := time.Now()
		command := []string{"ctr", "--namespace=k8s.io", "images", "import", "--local", archive}
		if status := run(command, os.Stdout); !status.Exited() || status.ExitStatus() != 0 {
			say("%s was not imported: %v", archive, status)
			continue
		}
		say("imported %s in %.1f s", archive, time.Since(began).Seconds())
	}
	must(os.WriteFile("/run/images-imported", nil, 0o644))
}

// --- processes: orphans end up here, so one loop collects all children and tells whoever waits for one of them ----

var (
	collecting sync.Mutex
	waiting    = map[int]chan syscall.WaitStatus{}
)

func run(command []string, output *os.File) syscall.WaitStatus {
	program, err := exec.LookPath(command[0])
	must(err)
	null := must1(os.Open(os.DevNull))
	defer null.Close()
	collecting.Lock() // it may end before it is known; nothing is collected meanwhile
	process, err := os.StartProcess(program, command, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{null, output, output}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		collecting.Unlock()
		say("%s: %v", program, err)
		return syscall.WaitStatus(1 << 8)
	}
	ended := make(chan syscall.WaitStatus, 1)
	waiting[process.Pid] = ended
	collecting.Unlock()
	return <-ended
}

func init() { go collectOrphans() }

func collectOrphans() {
	for {
		var status syscall.WaitStatus
		collecting.Lock()
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if pid > 0 {
			if ended, ours := waiting[pid]; ours {
				delete(waiting, pid)
				ended <- status
			}
		}
		collecting.Unlock()
		if pid <= 0 || err != nil {
			time.Sleep(poll)
		}
	}
}
