//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"makuo/integration/lab"
)

// everySocket looks for a port in a table of each member's sockets.
func everySocket(f *field, table, port string) bool {
	for _, h := range f.members {
		data, _ := os.ReadFile(filepath.Join(filepath.Dir(h.Path()), "net", table))
		if !strings.Contains(string(data), port) {
			return false
		}
	}
	return true
}

// udpcast sends a tar stream through udp-sender to udp-receiver and tar on each
// member, in full-duplex mode. It ends when every tar has ended.
type udpcast struct {
	zip bool // compress the stream with zstd at its fastest
}

func (u udpcast) name() string {
	if u.zip {
		return "udpcast-zstd"
	}
	return "udpcast"
}

func (u udpcast) programs() []string {
	if u.zip {
		return []string{"udp-sender", "udp-receiver", "tar", "zstd"}
	}
	return []string{"udp-sender", "udp-receiver", "tar"}
}

func (udpcast) syncs() bool { return false }

func (u udpcast) push(f *field, limit time.Duration) (outcome, error) {
	zip, unzip := "", ""
	if u.zip {
		zip, unzip = "| zstd -q -1 -c", "| zstd -q -d -c"
	}
	c := newCrew(f)
	err := c.serve(f, "udp-receiver", func(*lab.Host) []string {
		return []string{"sh", "-c", "udp-receiver --interface eth0 --nokbd --exit-wait 100 2>/run/tmp/udpcast " + unzip + " | tar -xpf -"}
	})
	if err == nil {
		err = c.await("the receivers", func() bool { return bound(f, ":2328 ") })
	}
	var o outcome
	if err == nil {
		began := time.Now()
		deadline := began.Add(limit)
		_, err = c.client(f, "udp-sender", "sh", "-c", fmt.Sprintf(
			"tar -cf - %s %s | udp-sender --interface eth0 --full-duplex --min-receivers %d --rexmit-hello-interval 100 --max-wait 10 --nokbd --no-progress", treeName, zip, len(f.members)))
		for _, p := range c.servers {
			if err == nil {
				err = p.wait(deadline)
			}
			if err == nil {
				o.Wall = max(o.Wall, p.at.Sub(began))
			}
		}
		for _, p := range c.clients { // its own end is not waited for by the clock
			if err == nil {
				err = p.wait(deadline)
			}
		}
	}
	o.Sender, o.Receivers = c.end()
	return o, err
}

// uftp has uftpd on each member and sends at a fixed rate just below the link's.
type uftp struct{}

func (uftp) name() string       { return "uftp" }
func (uftp) programs() []string { return []string{"uftp", "uftpd"} }
func (uftp) syncs() bool        { return false }

// uftpBuffer is what Linux gives a program without privileges at most when its
// limit is set to what fast networks need.
const uftpBuffer = "4194304"

func (uftp) push(f *field, limit time.Duration) (outcome, error) {
	c := newCrew(f)
	id := func(h *lab.Host) string { return fmt.Sprintf("0x%08x", 0x1000+h.Index) }
	err := c.serve(f, "uftpd", func(h *lab.Host) []string {
		return []string{"uftpd", "-d", "-q", "-x", "1", "-I", "eth0", "-U", id(h), "-D", lab.BaseDir, "-B", uftpBuffer}
	})
	if err == nil {
		err = c.await("uftpd", func() bool { return bound(f, ":0414 ") })
	}
	var o outcome
	if err == nil {
		var ids []string
		for _, h := range f.members {
			ids = append(ids, id(h))
		}
		rate := "-1" // as fast as the interface takes it
		if f.spec.RateMbit > 0 {
			rate = fmt.Sprint(f.spec.RateMbit * 950) // in Kbit/s
		}
		began := time.Now()
		var p *process
		p, err = c.client(f, "uftp", "uftp", "-x", "1", "-I", "eth0", "-R", rate, "-b", "1400",
			"-B", uftpBuffer, "-H", strings.Join(ids, ","), treeName)
		if err == nil {
			err = p.wait(began.Add(limit))
			o.Wall = time.Since(began)
		}
	}
	o.Sender, o.Receivers = c.end()
	return o, err
}
