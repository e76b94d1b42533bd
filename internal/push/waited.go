package push

// Awaited is a member that a push waits for.
type Awaited struct {
	Name, Doing string
}

// maxAwaited bounds how many members Status names.
const maxAwaited = 10

// awaitedMembers returns whom the push waits for now and what they are at, in
// the order of the roster. While data is sent it is nobody in particular.
func (o *Origin) awaitedMembers() (list []Awaited, more int) {
	for _, m := range o.members {
		doing := o.doing(m)
		switch {
		case doing == "":
		case len(list) < maxAwaited:
			list = append(list, Awaited{m.Name, doing})
		default:
			more++
		}
	}
	return list, more
}

// doing says for people what the push waits for member m to do; "": it does not.
func (o *Origin) doing(m *originMember) string {
	if !m.inStream() {
		return ""
	}
	switch o.Stage() {
	case StageLock:
		if !m.locked && o.state == originLocking {
			return "asked whether it is free"
		}
	case StageFlush:
		switch {
		case m.stage != MemberActive:
		case m.syncing:
			return "syncing its disk"
		default:
			return "receiving the rest"
		}
	case StageCommit:
		if m.stage == MemberStaged {
			return "putting the new tree in place"
		}
	case StageReport:
		if m.fetching() {
			return "sending its report"
		}
	}
	return ""
}
