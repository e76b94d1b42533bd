//go:build linux

package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// keeper is a process that holds namespaces open. It ends when its standard
// input is closed, by stop or by the end of the test process.
type keeper struct {
	cmd   *exec.Cmd
	stdin io.Closer
	flags []string // nsenter's, for the namespaces it holds
	mark  string
}

// startKeeper starts a keeper in new namespaces, made by unshare with the given
// flags, runs setup (a shell script with args as $1, $2 ...) in them, and
// returns once that is done. All processes beside it carry mark.
func startKeeper(t testing.TB, mark, flags, setup string, args ...string) *keeper {
	t.Helper()
	line := strings.Fields(flags)
	line = append(line, "--", "sh", "-c", setup+"\necho ready\nexec cat >/dev/null", "keeper")
	cmd := exec.Command("unshare", append(line, args...)...)
	cmd.Env = markedEnv(mark)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problems strings.Builder
	cmd.Stderr = &problems
	if err := cmd.Start(); err != nil {
		t.Fatalf("lab: starting unshare: %v", err)
	}
	k := &keeper{cmd: cmd, stdin: stdin, mark: mark}
	if word, err := bufio.NewReader(stdout).ReadString('\n'); word != "ready\n" {
		k.stop()
		if strings.Contains(problems.String(), "Operation not permitted") {
			t.Skipf("left out: whole daemons in network namespaces; this system does not let root make them: %s", problems.String())
		}
		t.Fatalf("lab: making namespaces with %s: %v %s", flags, err, problems.String())
	}
	k.flags = []string{"--net"}
	if strings.Contains(flags, "--mount") {
		k.flags = []string{"--net", "--uts", "--mount"}
	}
	return k
}

func (k *keeper) pid() int { return k.cmd.Process.Pid }

// command is a command that will run in the keeper's namespaces. The process
// started is the command itself, not a wrapper: its id can be signalled.
func (k *keeper) command(args ...string) *exec.Cmd {
	line := append([]string{"--target", strconv.Itoa(k.pid())}, k.flags...)
	line = append(append(line, "--"), args...)
	cmd := exec.Command("nsenter", line...)
	cmd.Env = markedEnv(k.mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (k *keeper) stop() {
	k.stdin.Close()
	k.cmd.Process.Kill() // closing is enough for cat, not for a setup that hangs
	k.cmd.Wait()
}

// markVar marks every process of a lab with the test process and the lab it
// belongs to: "PID:START:NUMBER", START being the start of the test process in
// clock ticks since boot.
const markVar = "MAKUO_LAB"

var owner = sync.OnceValue(func() string {
	return fmt.Sprintf("%d:%s", os.Getpid(), startTime(os.Getpid()))
})

var labs atomic.Int64

func newMark() string { return fmt.Sprintf("%s:%d", owner(), labs.Add(1)) }

func markedEnv(mark string) []string {
	return append(CleanEnv(), markVar+"="+mark)
}

// CleanEnv is this process's environment without what its user set for makuo.
func CleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "MAKUO"), name == "MSYNC_TARGET", name == "XDG_RUNTIME_DIR":
		default:
			env = append(env, kv)
		}
	}
	return env
}

// startTime is field 22 of /proc/PID/stat, or "" when there is no such process.
func startTime(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	if f := strings.Fields(rest); len(f) > 19 {
		return f[19]
	}
	return ""
}

// marked calls f with every process of any lab and its mark.
func marked(f func(pid int, mark string)) {
	names, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range names {
		env, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		for kv := range strings.SplitSeq(string(env), "\x00") {
			if mark, ok := strings.CutPrefix(kv, markVar+"="); ok {
				f(pid, mark)
			}
		}
	}
}

var sweepOnce sync.Once

// sweep ends processes of labs whose test process is dead.
func sweep(t testing.TB) {
	marked(func(pid int, mark string) {
		if !ownerAlive(mark) {
			t.Logf("lab: ending process %d, left over from the lab %s", pid, mark)
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

// ownerAlive says whether the test process of a mark is still there.
func ownerAlive(mark string) bool {
	f := strings.Split(mark, ":")
	if len(f) < 2 {
		return false
	}
	pid, err := strconv.Atoi(f[0])
	return err == nil && startTime(pid) == f[1]
}
