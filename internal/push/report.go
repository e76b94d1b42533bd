package push

import "makuo/protocol"

// report turns the end of a push into its last notes: path lines and how each
// member ended. It returns the summary, and the members that are still to be
// served because they were parked.
func (r *run) report(f finalNote, emit func(Note)) (sum Summary, parked []RosterMember) {
	res := f.result
	sum = f.summary
	if res.Abort == "" && r.changes != nil {
		<-r.noted
		r.pathLines(&res, &sum, emit)
	}
	sum.countNames(&res, r.o.cfg.DryRun)
	for _, m := range res.Members {
		switch {
		case m.Outcome == MemberParked && (res.Abort == "" || res.Abort == nobodyLeft):
			parked = append(parked, m.RosterMember)
			continue
		case res.Abort != "" && m.Outcome < MemberRefused:
			m.Outcome = MemberAborted
		case m.Outcome == MemberDone && m.Counts.Errors > 0:
			m.Outcome = MemberFailed
			sum.Failed++
		case m.Outcome == MemberFailed || m.Outcome == MemberRefused:
			sum.Failed++
		case m.Outcome == MemberLost:
			sum.Lost++
		default:
			sum.Done++
			sum.Differing += m.Counts.Deleted
		}
		emit(NoteMember{MemberResult: m})
	}
	sum.Skew = res.Skew
	nobody := len(res.Members) > 0 && sum.Failed+sum.Lost+len(parked) == len(res.Members)
	for _, a := range r.req.Absent {
		switch {
		case a.Away:
			sum.Away++
		case a.Missing:
			sum.Missing++
		default:
			sum.Failed++
		}
	}
	switch {
	case res.Abort != "" && nobody:
		sum.Ending, sum.Reason = EndedPartial, res.Abort
	case res.Abort != "":
		sum.Ending, sum.Reason = EndedAborted, res.Abort
	case sum.Failed+sum.Lost+r.req.lacking() > 0 || f.pathErrs > 0:
		sum.Ending = EndedPartial
	}
	return sum, parked
}

// countNames sets how many names were updated and deleted, or would be. What
// members have in common counts once: of the updates it is known which they
// were, and members in error made fewer; of the deletions, only how many.
func (s *Summary) countNames(res *Result, dry bool) {
	var changed uint64
	for _, m := range res.Members {
		changed += m.Counts.Changed
		s.Deleted = max(s.Deleted, m.Counts.Deleted)
	}
	if !dry {
		s.Updated = min(s.Updated, changed)
	}
	if res.Abort != "" {
		s.Updated, s.Deleted = 0, 0
	}
}

// pathLines reads the spool back: what each member that is done changed.
func (r *run) pathLines(res *Result, sum *Summary, emit func(Note)) {
	var bits [bitsLen]byte
	for n := range r.src.spool.count() {
		b, _, err := r.src.spool.batch(n)
		if err != nil {
			emit(NoteProblem{Text: err.Error()})
			return
		}
		for i, m := range res.Members {
			if m.Outcome != MemberDone {
				continue
			}
			r.src.spool.change(b.Number, i, &bits)
			for j := range b.Entries {
				r.pathLine(m.Name, &b.Entries[j], bits[j/8]>>(j%8)&1 != 0, sum, emit)
			}
		}
	}
}

func (r *run) pathLine(member string, e *protocol.Entry, changes bool, sum *Summary, emit func(Note)) {
	if e.Type >= protocol.EntryAbsent || r.problems.covers(member, e.Path) || r.problems.covers("", e.Path) && e.Type == protocol.EntryRegular {
		return
	}
	switch {
	case changes:
		sum.Differing++
		if r.req.Verbose > 0 || r.req.Header.Options&protocol.OptDryRun != 0 {
			emit(NotePath{ActionUpdate, member, e.Path})
		}
	case r.req.Verbose > 1 || r.req.Verbose > 0 && r.req.Header.Options&protocol.OptCheck != 0:
		emit(NotePath{ActionSkip, member, e.Path})
	}
}
