//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"makuo/integration/lab"
)

// makuo is this project: the daemons run already, msync is what is timed.
type makuo struct{}

func (makuo) name() string       { return "makuo" }
func (makuo) programs() []string { return nil }
func (makuo) syncs() bool        { return true }

// summary is the last event of msync --json.
type summary struct {
	Type          string  `json:"type"`
	Text          string  `json:"text"`
	Done          int     `json:"done"`
	Late          int     `json:"late"`
	BytesSent     uint64  `json:"bytes_sent"`
	BytesRepaired uint64  `json:"bytes_repaired"`
	CommitSkewMS  float64 `json:"commit_skew_ms"`
	Exit          int     `json:"exit"`
	Message       string  `json:"message"` // of a failed push
}

func (makuo) push(f *field, limit time.Duration) (outcome, error) {
	hosts := f.lab.Hosts()
	before := make([]time.Duration, len(hosts))
	for i, h := range hosts {
		forgetPeak(h.Daemon().PID())
		before[i] = cpuTime(h.Daemon().PID())
	}
	c := newCrew(f)
	var events bytes.Buffer
	cmd := f.origin.Command(lab.BaseDir, lab.Binary(f.shell, "msync"), "-r", "--delete", "--json", treeName)
	cmd.Stdout = &events
	stop := make(chan struct{})
	first := firstData(f.members[0], stop)
	began := time.Now()
	p, err := c.launch("msync", cmd)
	if err != nil {
		close(stop)
		return outcome{}, err
	}
	c.clients = append(c.clients, p)
	err = p.wait(began.Add(limit))
	o := outcome{Wall: p.at.Sub(began)}
	close(stop)
	o.FirstData = <-first
	o.Sender, _ = c.end()
	f.origin.AwaitIdle()
	for i, h := range hosts {
		pid := h.Daemon().PID()
		u := usage{CPU: cpuTime(pid) - before[i], Peak: peakMemory(pid)}
		if i == 0 {
			o.Sender = o.Sender.add(u)
		} else {
			o.Receivers = append(o.Receivers, u)
		}
	}
	var s summary
	lines := bytes.Split(bytes.TrimSpace(events.Bytes()), []byte("\n"))
	if e := json.Unmarshal(lines[len(lines)-1], &s); e != nil || s.Type != "summary" {
		if err == nil {
			err = fmt.Errorf("msync wrote no summary")
		}
		return o, fmt.Errorf("%w: %.300s", err, lines[len(lines)-1])
	}
	if err != nil {
		return o, fmt.Errorf("%w: %s", err, s.Text)
	}
	o.Pushed = &s
	return o, nil
}
