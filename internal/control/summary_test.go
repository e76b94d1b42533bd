package control

import (
	"strings"
	"testing"
)

// TestSummaryLine: what was done, what would be done, and what differs.
func TestSummaryLine(t *testing.T) {
	for want, s := range map[string]*Summary{
		"members: 1 done, 0 late, 0 failed, 0 lost, 0 missing; 1 name updated, 2 deleted; 1 file, 1 byte of content; sent ":                               {Done: 1, Updated: 1, Deleted: 2, Files: 1, Bytes: 1},
		"(dryrun) members: 1 done, 0 late, 0 failed, 0 lost, 0 missing; 3 names would be updated, 0 deleted; 2 files, 0 bytes of content would be sent; ": {DryRun: true, Done: 1, Updated: 3, Files: 2},
		"members: 1 done, 0 late, 0 failed, 0 lost, 0 missing; 5 paths differ; sent ":                                                                     {DryRun: true, Check: true, Done: 1, Updated: 3, Deleted: 2},
		"members: 0 done, 0 late, 1 failed, 0 lost, 0 missing; 1 path differs; ":                                                                          {DryRun: true, Check: true, Failed: 1, Updated: 1},
	} {
		if got := s.Line(); !strings.HasPrefix(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
