package fsroot

import (
	"fmt"
	"strings"
)

// maxJoined is how many errors the text of a joined one spells out.
const maxJoined = 3

// Join is errors.Join with a text of one line, which names the first few. Join
// without an error that is not nil is nil, and of one it is that one.
func Join(errs ...error) error {
	var list joined
	for _, err := range errs {
		if err != nil {
			list = append(list, err)
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}

type joined []error

func (j joined) Error() string {
	var texts []string
	for _, err := range j[:min(len(j), maxJoined)] {
		texts = append(texts, err.Error())
	}
	text := strings.Join(texts, "; ")
	if more := len(j) - maxJoined; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

func (j joined) Unwrap() []error { return j }
