//go:build !wasip1

package muster

// Outside of Wasm there is no host: tests look at what was said.
var (
	// OnLog, if set, gets the lines of Log. It is for tests, and not there in Wasm.
	OnLog func(level Level, line string)
	// OnCount, if set, gets what Count adds. It is for tests, and not there in Wasm.
	OnCount func(id int, n int64)
)

func hostLog(level int32, line string) {
	if OnLog != nil {
		OnLog(Level(level), line)
	}
}

func hostCount(id int32, n int64) {
	if OnCount != nil {
		OnCount(int(id), n)
	}
}
