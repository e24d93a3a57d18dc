package usage_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

var figures = flag.String("figures", "", "append what is measured at full size to this `FILE`; without it a small size runs")

// TestMain is also the other process of the load test.
func TestMain(m *testing.M) {
	flag.Parse()
	if text := os.Getenv(fleetEnv); text != "" {
		os.Exit(fleetProcess(text))
	}
	goleak.VerifyTestMain(m)
}
