//go:build linux

package main

import (
	"slices"
	"time"
)

// What is done with the tree in a turn.
const (
	first     = "first push"
	unchanged = "unchanged"
	tenFiles  = "10 files changed"
	allFiles  = "all files changed"
	floorRun  = "floor"
)

// result is one turn of one contender.
type result struct {
	Scenario  string  `json:"scenario"`
	Contender string  `json:"contender"`
	Kind      string  `json:"kind"`
	Tree      string  `json:"tree"`
	Files     int     `json:"files"`
	Content   int64   `json:"content_bytes"`
	Hosts     int     `json:"hosts"`
	RateMbit  int     `json:"rate_mbit"`
	Loss      float64 `json:"loss_percent"`
	Repeat    int     `json:"repeat"`

	Seconds       float64 `json:"seconds"`
	Share         float64 `json:"share,omitempty"`      // of the link; 0: no rate, or no first push
	SenderCPU     float64 `json:"sender_cpu_seconds"`   // of all its processes
	ReceiverCPU   float64 `json:"receiver_cpu_seconds"` // mean of the members
	SenderPeak    uint64  `json:"sender_peak_bytes"`    // VmHWM of the largest process
	ReceiverPeak  uint64  `json:"receiver_peak_bytes"`  // of the largest at any member
	BytesOut      uint64  `json:"bytes_out"`            // left the origin, with headers
	BytesBack     uint64  `json:"bytes_back"`           // reached the origin
	PortDrops     uint64  `json:"port_drops"`           // packets, full buffers of the switch
	Lost          uint64  `json:"lost,omitempty"`       // packets, on arrival at all members
	LostMeanBytes float64 `json:"lost_mean_bytes,omitempty"`
	FirstData     float64 `json:"first_data_seconds,omitempty"`
	SkewMS        float64 `json:"commit_skew_ms,omitempty"`
	Repaired      uint64  `json:"bytes_repaired,omitempty"`

	Equal         bool     `json:"equal"` // in names, types, contents, link targets
	MetadataDiffs int      `json:"metadata_differences"`
	Differences   []string `json:"differences,omitempty"` // the first few
	Error         string   `json:"error,omitempty"`
	TooLong       bool     `json:"too_long,omitempty"` // Seconds is then the limit
}

func (r *result) fail(err error) {
	if r.Error == "" {
		r.Error = err.Error()
	}
}

func (r *result) good() bool { return r.Error == "" }

// take fills in what a push took.
func (r *result) take(o outcome) {
	r.Seconds = o.Wall.Seconds()
	r.SenderCPU, r.SenderPeak = o.Sender.CPU.Seconds(), o.Sender.Peak
	var cpu time.Duration
	for _, u := range o.Receivers {
		cpu += u.CPU
		r.ReceiverPeak = max(r.ReceiverPeak, u.Peak)
	}
	r.ReceiverCPU = cpu.Seconds() / float64(max(1, len(o.Receivers)))
	r.FirstData = o.FirstData.Seconds()
	if o.Pushed != nil {
		r.SkewMS, r.Repaired = o.Pushed.CommitSkewMS, o.Pushed.BytesRepaired
	}
	if r.RateMbit > 0 && r.Kind == first {
		r.Share = share(r.Content, r.Seconds, r.RateMbit)
	}
}

// share of a link: bits of content by wall time and link rate.
func share(content int64, seconds float64, rateMbit int) float64 {
	if seconds <= 0 || rateMbit <= 0 {
		return 0
	}
	return float64(content) * 8 / (seconds * float64(rateMbit) * 1e6)
}

// results are all turns of a run.
type results []*result

// where are the results that a condition holds for.
func (rs results) where(cond func(*result) bool) results {
	var out results
	for _, r := range rs {
		if cond(r) {
			out = append(out, r)
		}
	}
	return out
}

// median of a figure over good results; ok is false if there is none, or if
// one of the turns went wrong: a contender is not judged by its lucky turns.
func (rs results) median(figure func(*result) float64) (v float64, ok bool) {
	var all []float64
	for _, r := range rs {
		if !r.good() {
			return 0, false
		}
		all = append(all, figure(r))
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2, true
}

func seconds(r *result) float64 { return r.Seconds }
