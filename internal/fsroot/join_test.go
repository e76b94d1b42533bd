package fsroot

import (
	"errors"
	"io/fs"
	"testing"
)

func TestJoin(t *testing.T) {
	one := errors.New("one")
	if Join() != nil || Join(nil, nil) != nil || Join(nil, one) != one {
		t.Error("wrong error for none or one")
	}
	err := Join(one, nil, fs.ErrExist, one, one, fs.ErrClosed)
	if err.Error() != "one; file already exists; one; and 2 more" {
		t.Errorf("%q", err)
	}
	if !errors.Is(err, fs.ErrClosed) || errors.Is(err, fs.ErrInvalid) {
		t.Error("does not match what it holds")
	}
}
