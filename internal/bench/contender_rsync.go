//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"makuo/integration/lab"
)

// rsync has a daemon on each member and a client at the origin for each, all at
// once or one after the other. The algorithm for parts of files is off: on a
// network it costs more than it saves, and there is nothing to save on a first push.
type rsync struct {
	inTurn bool
	zip    bool // compress with zstd at its fastest
}

func (r rsync) name() string {
	switch {
	case r.inTurn:
		return "rsync-in-turn"
	case r.zip:
		return "rsync-zstd"
	}
	return "rsync"
}

func (rsync) programs() []string { return []string{"rsync"} }
func (r rsync) syncs() bool      { return !r.inTurn && !r.zip }

const rsyncConf = `use chroot = no
reverse lookup = no
uid = root
gid = root
max connections = 0
[base]
path = ` + lab.BaseDir + `
read only = no
`

func (r rsync) push(f *field, limit time.Duration) (outcome, error) {
	conf := filepath.Join(f.shell.TempDir(), "rsyncd.conf")
	if err := os.WriteFile(conf, []byte(rsyncConf), 0o644); err != nil {
		return outcome{}, err
	}
	c := newCrew(f)
	err := c.serve(f, "the rsync daemon", func(*lab.Host) []string {
		return []string{"rsync", "--daemon", "--no-detach", "--config=" + conf, "--port=873"}
	})
	if err == nil {
		err = c.await("the rsync daemons", func() bool { return listening(f, ":0369 ") })
	}
	var o outcome
	if err == nil {
		began := time.Now()
		err = r.transfer(f, c, began.Add(limit))
		o.Wall = time.Since(began)
	}
	o.Sender, o.Receivers = c.end()
	return o, err
}

// transfer starts the clients and waits for them.
func (r rsync) transfer(f *field, c *crew, deadline time.Time) error {
	for _, h := range f.members {
		args := []string{"rsync", "-aW", "--delete"}
		if r.zip {
			args = append(args, "-z", "--compress-choice=zstd", "--compress-level=1")
		}
		p, err := c.client(f, "rsync to "+h.Name, append(args, treeName, fmt.Sprintf("rsync://%s/base/", h.Addr))...)
		if err != nil {
			return err
		}
		if r.inTurn {
			if err := p.wait(deadline); err != nil {
				return err
			}
		}
	}
	for _, p := range c.clients {
		if err := p.wait(deadline); err != nil {
			return err
		}
	}
	return nil
}

// listening says whether every member has a TCP socket on a port, given as it
// stands in /proc/net/tcp.
func listening(f *field, port string) bool { return everySocket(f, "tcp", port) }

// bound is the same for UDP.
func bound(f *field, port string) bool { return everySocket(f, "udp", port) }
