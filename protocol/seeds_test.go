package protocol

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var writeSeeds = flag.Bool("write-seeds", false, "write the seeds of the fuzz targets to testdata/fuzz anew")

// seedTargets are the fuzz targets whose seeds are values of a codec.
var seedTargets = map[string]string{
	"FuzzPrefix": "prefix", "FuzzBeacon": "beacon", "FuzzForeignBeacon": "beacon", "FuzzDetail": "detail", "FuzzState": "state", "FuzzData": "data",
	"FuzzFeedback": "feedback", "FuzzReport": "report", "FuzzFetch": "fetch", "FuzzPage": "page", "FuzzQuery": "query", "FuzzAnswer": "answer",
	"FuzzPushHeader": "push header", "FuzzBatch": "batch", "FuzzPieces": "pieces", "FuzzProblem": "problem", "FuzzDeletedPath": "deleted path",
}

// TestSeeds checks that the seeds on disk, which are whole messages of this
// version, are still that: a change of the wire format shows here.
func TestSeeds(t *testing.T) {
	for target, name := range seedTargets {
		dir, c := filepath.Join("testdata", "fuzz", target), codecOf(name)
		if *writeSeeds {
			writeSeedsOf(t, dir, c)
		}
		files, err := filepath.Glob(filepath.Join(dir, "whole-*"))
		if err != nil || len(files) < 4 {
			t.Errorf("%s has %d seeds", target, len(files))
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var b []byte
			_, quoted, _ := strings.Cut(string(text), "[]byte(")
			if _, err := fmt.Sscanf(quoted, "%q", &b); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			v, err := c.parse(b)
			if err != nil {
				t.Errorf("%s: %v", file, err)
			} else if again, err := c.parse(c.append(v)); err != nil || !reflect.DeepEqual(again, v) {
				t.Errorf("%s: does not come back the same: %v", file, err)
			}
		}
	}
}

func writeSeedsOf(t *testing.T, dir string, c codec) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(2, 2))
	for i := 0; i < 6; {
		b := c.append(c.random(r))
		if len(b) > 1200 {
			continue
		}
		text := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", b)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("whole-%d", i)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		i++
	}
}
