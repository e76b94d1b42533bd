package daemon

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// helperEnv makes the test binary do something that cannot be undone in its
// own process; see TestMain.
const helperEnv = "MAKUOD_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) == "drop" {
		os.Exit(dropHelper())
	}
	os.Exit(m.Run())
}

// dropHelper gives privileges up and prints the identity of every thread.
func dropHelper() int {
	c, err := Identity{User: "65533", Group: "65532", Groups: "65531,65530"}.Resolve()
	if err == nil {
		err = c.Drop()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/status")
	for _, task := range tasks {
		f, err := os.Open(task)
		if err != nil {
			continue // the thread has ended
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if key, value, _ := strings.Cut(sc.Text(), ":"); key == "Uid" || key == "Gid" || key == "Groups" || key == "CapEff" || key == "CapPrm" {
				fmt.Println(key, strings.Join(strings.Fields(value), " "))
			}
		}
		f.Close()
	}
	if err := os.WriteFile("/proc/sys/kernel/hostname", nil, 0); err == nil {
		fmt.Println("still may write what is root's")
	}
	return 0
}

func TestDropIsForAllThreadsAndForGood(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: giving privileges up is not tested")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=drop")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := map[string]string{
		"Uid": "65533 65533 65533 65533", "Gid": "65532 65532 65532 65532", "Groups": "65530 65531",
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000",
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) < len(want) {
		t.Fatalf("only %q", out)
	}
	for _, line := range lines {
		key, value, _ := strings.Cut(line, " ")
		if want[key] != value {
			t.Errorf("%s, want %q", line, want[key])
		}
	}
}

func TestVerifyFindsWhatWasNotGivenUp(t *testing.T) {
	c := Credentials{UID: os.Getuid() + 1, GID: os.Getgid()}
	if err := c.verify(); err == nil || !strings.Contains(err.Error(), "asked to be user") {
		t.Errorf("another user: %v", err)
	}
	c = Credentials{UID: os.Getuid(), GID: os.Getgid() + 1}
	if err := c.verify(); err == nil {
		t.Error("another group was not found")
	}
}

func TestResolve(t *testing.T) {
	none, err := Identity{}.Resolve()
	if err != nil || none.Changes() || none.UID != os.Geteuid() {
		t.Errorf("nothing asked: %+v, %v", none, err)
	}
	for _, i := range []Identity{{User: "no such user"}, {Group: "no such group"}, {Groups: "0,no such group"}, {User: "4294967295"}, {User: "-1"}, {Groups: "1,,2"}} {
		if c, err := i.Resolve(); err == nil {
			t.Errorf("%+v was taken for %+v", i, c)
		}
	}
}

func TestResolveAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: becoming somebody else is not tested")
	}
	c, err := Identity{User: "nobody"}.Resolve()
	if err != nil || c.UID != 65534 || c.GID != 65534 || !c.Changes() {
		t.Errorf("a name brings its group: %+v, %v", c, err)
	}
	c, err = Identity{User: "nobody", Group: "0", Groups: "root,7"}.Resolve()
	if err != nil || c.UID != 65534 || c.GID != 0 || len(c.Groups) != 2 || c.Groups[0] != 0 || c.Groups[1] != 7 {
		t.Errorf("groups that are named win: %+v, %v", c, err)
	}
	c, err = Identity{User: "65000"}.Resolve()
	if err != nil || c.UID != 65000 || c.GID != 0 {
		t.Errorf("a number nobody has: %+v, %v", c, err)
	}
}

func TestResolveWithoutRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root: the refusals of an ordinary user are not tested")
	}
	self := fmt.Sprint(os.Geteuid())
	if c, err := (Identity{User: self, Group: fmt.Sprint(os.Getegid())}).Resolve(); err != nil || c.Changes() {
		t.Errorf("what one is already: %+v, %v", c, err)
	}
	if _, err := (Identity{User: "root"}).Resolve(); err == nil || !strings.Contains(err.Error(), "start it as root") {
		t.Errorf("became root: %v", err)
	}
}

func TestSocketOptions(t *testing.T) {
	c := Credentials{UID: 7, GID: 8}
	if o, err := c.SocketOptions(""); err != nil || o.UID != 7 || o.GID != 8 {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := c.SocketOptions("9"); err != nil || o.UID != 7 || o.GID != 9 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := c.SocketOptions("no such group"); err == nil || !strings.Contains(err.Error(), "--socket-group") {
		t.Errorf("%v", err)
	}
}

func TestStateDirIsLockedAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a/b")
	self, _ := Identity{}.Resolve()
	first, err := OpenStateDir(path, self)
	if err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", fi.Mode())
	}
	if _, err := OpenStateDir(path, self); err == nil || !strings.Contains(err.Error(), "another makuod") {
		t.Errorf("the second daemon: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenStateDir(path, self)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}

func TestStateDirFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	self, _ := Identity{}.Resolve()
	if _, err := OpenStateDir(link, self); err == nil {
		t.Error("a symbolic link was taken")
	}
}

func TestStateDirBelongsToTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: giving the state directory away is not tested")
	}
	path := filepath.Join(t.TempDir(), "state")
	s, err := OpenStateDir(path, Credentials{UID: 65533, GID: 65532, change: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fi, _ := os.Stat(path)
	if st := fi.Sys().(*syscall.Stat_t); st.Uid != 65533 || st.Gid != 65532 {
		t.Errorf("belongs to %d:%d", st.Uid, st.Gid)
	}
}

// TestOnlyRootBecomesSomebodyElse: the error names what it cannot become, and
// not what it is already.
func TestOnlyRootBecomesSomebodyElse(t *testing.T) {
	is := Credentials{UID: 1001, GID: 100}
	for _, c := range []struct {
		i      Identity
		wanted Credentials
		says   string
	}{
		{Identity{User: "me"}, is, ""},
		{Identity{User: "www"}, Credentials{UID: 33, GID: 100}, "only root can become user 33 (--user www), and"},
		{Identity{User: "me"}, Credentials{UID: 1001, GID: 1001}, "only root can become group 1001 (the group of --user me), and"},
		{Identity{Group: "adm"}, Credentials{UID: 1001, GID: 4}, "only root can become group 4 (--group-id adm), and"},
		{Identity{Groups: "4,5"}, Credentials{UID: 1001, GID: 100, Groups: []int{4, 5}}, "only root can become supplementary groups [4 5] (--groups 4,5), and this process is user 1001"},
	} {
		err := c.i.withoutRoot(is, c.wanted)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.i, err, c.says)
		}
	}
}
