package usage_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var figures = flag.String("figures", "", "append what is measured at full size to this `FILE`; without it small sizes run")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}
