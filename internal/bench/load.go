//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// clockTick is the unit of processor time in /proc: USER_HZ, which Linux keeps
// at 100 on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTime is the processor time of a process, its threads and the children it
// has waited for; 0 when it is gone.
func cpuTime(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return parseCPUTime(string(data))
}

// parseCPUTime adds fields 14 to 17 (utime, stime, cutime, cstime) of a
// /proc/PID/stat. The second field, the name, may hold blanks and parentheses.
func parseCPUTime(stat string) time.Duration {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0
	}
	f := strings.Fields(stat[end+1:])
	if len(f) < 15 {
		return 0
	}
	var sum int64
	for _, s := range f[11:15] {
		n, _ := strconv.ParseInt(s, 10, 64)
		sum += n
	}
	return time.Duration(sum) * clockTick
}

// peakMemory is the most memory a process had resident since its start or the
// last forgetPeak, in bytes; 0 when it is gone.
func peakMemory(pid int) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	return parsePeak(string(data))
}

func parsePeak(status string) uint64 {
	_, after, ok := strings.Cut(status, "\nVmHWM:")
	if !ok {
		return 0
	}
	f := strings.Fields(after)
	if len(f) == 0 {
		return 0
	}
	kB, _ := strconv.ParseUint(f[0], 10, 64)
	return kB * 1024
}

// forgetPeak starts a process's peak of memory anew.
func forgetPeak(pid int) { os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) }

// children are the process's children now.
func children(pid int) []int {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var out []int
	for f := range strings.FieldsSeq(string(data)) {
		if n, err := strconv.Atoi(f); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// peaks watches the memory of process trees. A process that lives shorter than
// two looks is not seen; VmHWM makes one look near the end enough for the others.
type peaks struct {
	mu    sync.Mutex
	roots map[int]uint64 // the largest process of each tree
	stop  chan struct{}
	ended sync.WaitGroup
}

// lookEvery is rare enough to cost nothing beside what is measured.
const lookEvery = 50 * time.Millisecond

func watchPeaks() *peaks {
	p := &peaks{roots: map[int]uint64{}, stop: make(chan struct{})}
	p.ended.Go(func() { // ends with close
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.look()
			}
		}
	})
	return p
}

func (p *peaks) add(root int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roots[root] = 0
}

func (p *peaks) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for root, most := range p.roots {
		p.roots[root] = max(most, treePeak(root, 0))
	}
}

// treePeak is the peak of the largest process in a tree, eight levels deep.
func treePeak(pid, depth int) uint64 {
	most := peakMemory(pid)
	if depth < 8 {
		for _, c := range children(pid) {
			most = max(most, treePeak(c, depth+1))
		}
	}
	return most
}

// of is the peak of the largest process under root, in bytes.
func (p *peaks) of(root int) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.roots[root]
}

func (p *peaks) close() {
	close(p.stop)
	p.ended.Wait()
}
