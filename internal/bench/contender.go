//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"strings"
	"time"

	"makuo/integration/lab"
)

// contender is one way of bringing the tree from the origin to all members.
type contender interface {
	name() string
	// programs are what it needs on the PATH.
	programs() []string
	// syncs says whether a second push takes the tree that is there into account.
	syncs() bool
	// push brings the tree over. What has to run on the members before is
	// started before the clock is, and stopped after.
	push(f *field, limit time.Duration) (outcome, error)
}

// outcome is what one push took.
type outcome struct {
	Wall      time.Duration
	Sender    usage
	Receivers []usage
	Pushed    *summary // of makuo alone
	FirstData time.Duration
}

// lacks says which of a contender's programs are not installed.
func lacks(c contender) string {
	var missing []string
	for _, p := range c.programs() {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	return strings.Join(missing, ", ")
}

// contenders are all there are, by name.
func contenders() []contender {
	return []contender{makuo{}, rsync{}, rsync{zip: true}, rsync{inTurn: true}, udpcast{}, udpcast{zip: true}, uftp{}}
}

func findContender(name string) (contender, bool) {
	for _, c := range contenders() {
		if c.name() == name {
			return c, true
		}
	}
	return nil, false
}

func contenderNames() []string {
	var out []string
	for _, c := range contenders() {
		out = append(out, c.name())
	}
	return out
}

// crew is the programs of one push.
type crew struct {
	watch   *peaks
	servers []*process // in order of members
	clients []*process
	stop    <-chan struct{} // closed when all is to end
}

func newCrew(f *field) *crew { return &crew{watch: watchPeaks(), stop: f.stop} }

// serve starts a command on each member.
func (c *crew) serve(f *field, what string, command func(h *lab.Host) []string) error {
	for _, h := range f.members {
		p, err := c.launch(what+" on "+h.Name, h.Command(lab.BaseDir, command(h)...))
		if err != nil {
			return err
		}
		c.servers = append(c.servers, p)
	}
	return nil
}

// client starts a command at the origin.
func (c *crew) client(f *field, what string, args ...string) (*process, error) {
	p, err := c.launch(what, f.origin.Command(lab.BaseDir, args...))
	if err == nil {
		c.clients = append(c.clients, p)
	}
	return p, err
}

// await waits until a condition holds that a server's start brings about.
func (c *crew) await(what string, ready func() bool) error {
	end := time.Now().Add(10 * time.Second)
	for !ready() {
		for _, p := range c.servers {
			select {
			case <-p.ended:
				return fmt.Errorf("%s ended at its start: %v: %s", p.what, p.err, lastLines(p.out.String(), 6))
			default:
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited 10 s for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// end ends what still runs and returns what each side took.
func (c *crew) end() (sender usage, receivers []usage) {
	for _, p := range c.clients {
		select {
		case <-p.ended:
		default:
			p.kill()
		}
	}
	c.watch.look()
	for _, p := range c.servers {
		p.signalEnd()
		receivers = append(receivers, p.usage())
	}
	for _, p := range c.clients {
		sender = sender.add(p.usage())
	}
	c.watch.close()
	return sender, receivers
}
