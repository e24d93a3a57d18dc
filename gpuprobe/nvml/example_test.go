package nvml_test

import (
	"fmt"
	"time"

	"github.com/musterhq/muster/gpuprobe/nvml"
)

// An agent asks the Reopener for the library at the start of each sweep. Here it is a
// fake's; the driver's comes from nvml.Open.
func ExampleReopener() {
	driver := nvml.NewFake(nvml.FakeH100(0), nvml.FakeH100(1))
	driver.GPU(0).Set(func(s *nvml.FakeState) { s.Utilization = 800 })
	release := driver.GPU(1).Hang(nvml.CallUtilization)
	defer release()

	reopener := nvml.NewReopener(driver.Open, 50*time.Millisecond)
	defer func() { _ = reopener.Close() }()
	library, err := reopener.Library()
	if err != nil {
		fmt.Println("no GPU is seen:", err)
		return
	}
	gpus, _ := library.Devices()
	for _, gpu := range gpus {
		busy, err := gpu.Utilization()
		fmt.Println(gpu.Index(), busy, err)
	}
	// Output:
	// 0 800 <nil>
	// 1 0 GPU 1: the driver does not answer: Utilization took longer than 50ms
}
