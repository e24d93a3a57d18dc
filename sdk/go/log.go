package muster

// Level is the weight of a log line.
type Level int32

// The levels.
const (
	Debug Level = iota - 1
	Info
	Warn
	Error
)

// Log gives the host one line for its log. A host takes 16 lines and 4 KiB a call and
// drops the rest, so log what explains a decision, not each of them. Build the line from
// constants, or it costs memory in each call.
func Log(level Level, line string) { hostLog(int32(level), line) }

// Count adds to counter 0 to 63 of the policy, which operators see; other ids are
// ignored.
func Count(id int, n int64) { hostCount(int32(id), n) }
