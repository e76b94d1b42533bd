//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what the figures were made on.
type machine struct {
	When   time.Time         `json:"when"`
	CPU    string            `json:"cpu"`
	Cores  int               `json:"cores"`
	Memory uint64            `json:"memory_bytes"`
	Kernel string            `json:"kernel"`
	Go     string            `json:"go"`
	Commit string            `json:"commit,omitempty"`
	Peers  map[string]string `json:"peers"` // versions of the packages
}

func thisMachine() machine {
	m := machine{When: time.Now().UTC().Truncate(time.Second), Cores: runtime.NumCPU(), Go: runtime.Version(), Peers: map[string]string{}}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		for s := bufio.NewScanner(f); s.Scan() && m.CPU == ""; {
			if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
			}
		}
		f.Close()
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = uint64(info.Totalram) * uint64(info.Unit)
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	for _, p := range []string{"rsync", "uftp", "udpcast"} {
		if out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", p).Output(); err == nil && len(out) > 0 {
			m.Peers[p] = string(out)
		}
	}
	return m
}

func (m machine) String() string {
	s := fmt.Sprintf("%s, %d cores, %.0f GB, Linux %s, %s", m.CPU, m.Cores, float64(m.Memory)/1e9, m.Kernel, m.Go)
	if m.Commit != "" {
		s += ", makuo " + m.Commit
	}
	for _, p := range []string{"rsync", "uftp", "udpcast"} {
		if v := m.Peers[p]; v != "" {
			s += ", " + p + " " + v
		}
	}
	return s
}

// row is all repeats of one turn in the table.
type row struct {
	key string
	all results
}

// rows groups results, in the order they first came in.
func (rs results) rows() []row {
	var out []row
	index := map[string]int{}
	for _, r := range rs {
		key := fmt.Sprint(r.Scenario, "|", r.Tree, "|", r.RateMbit, "|", r.Hosts, "|", r.Loss, "|", r.Contender, "|", r.Kind)
		i, ok := index[key]
		if !ok {
			i = len(out)
			index[key] = i
			out = append(out, row{key: key})
		}
		out[i].all = append(out[i].all, r)
	}
	return out
}

// writeTable writes one line a row: medians over the repeats.
func writeTable(out io.Writer, rs results) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	last := ""
	for _, row := range rs.rows() {
		r := row.all[0]
		head := fmt.Sprintf("%s: %s, %d receiving, %s, loss %g %%", r.Scenario, r.Tree, r.Hosts, rateText(r.RateMbit), r.Loss)
		if head != last {
			w.Flush()
			fmt.Fprintf(out, "\n%s\n", head)
			fmt.Fprintln(w, "  what\tturn\tseconds\tshare\tCPU s out\tCPU s in\tMB out\tMB in\twire MB\tdrops\tlost\tchecked")
			last = head
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", r.Contender, r.Kind, strings.Join(row.cells(), "\t"))
	}
	w.Flush()
}

func rateText(mbit int) string {
	if mbit == 0 {
		return "no rate limit"
	}
	return fmt.Sprintf("%d Mbit/s", mbit)
}

// cells are the figures of a row.
func (row row) cells() []string {
	for _, r := range row.all {
		if !r.good() {
			text := r.Error
			if r.TooLong {
				text = fmt.Sprintf("did not end within %.0f s", r.Seconds)
			}
			return []string{text}
		}
	}
	num := func(format string, figure func(*result) float64) string {
		v, _ := row.all.median(figure)
		if v == 0 {
			return "-"
		}
		return fmt.Sprintf(format, v)
	}
	return []string{
		row.spread(),
		num("%.2f", func(r *result) float64 { return r.Share }),
		num("%.2f", func(r *result) float64 { return r.SenderCPU }),
		num("%.2f", func(r *result) float64 { return r.ReceiverCPU }),
		num("%.0f", func(r *result) float64 { return float64(r.SenderPeak) / 1e6 }),
		num("%.0f", func(r *result) float64 { return float64(r.ReceiverPeak) / 1e6 }),
		num("%.1f", func(r *result) float64 { return float64(r.BytesOut) / 1e6 }),
		num("%.0f", func(r *result) float64 { return float64(r.PortDrops) }),
		num("%.0f", func(r *result) float64 { return float64(r.Lost) }),
		row.checked(),
	}
}

// spread is the median time, and the extremes if there are several.
func (row row) spread() string {
	v, _ := row.all.median(seconds)
	if len(row.all) == 1 {
		return fmt.Sprintf("%.2f", v)
	}
	low, high := v, v
	for _, r := range row.all {
		low, high = min(low, r.Seconds), max(high, r.Seconds)
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", v, low, high)
}

func (row row) checked() string {
	r := row.all[0]
	switch {
	case r.Kind == floorRun:
		return "-"
	case r.MetadataDiffs > 0:
		return "contents"
	}
	return "all"
}

// report is the JSON form of a run.
type report struct {
	Machine machine   `json:"machine"`
	Results results   `json:"results"`
	Targets []verdict `json:"targets,omitempty"`
}

func writeJSON(name string, r report) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}
