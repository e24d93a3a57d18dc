package podresources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kubelet is a server on a socket that answers as it is told to.
type kubelet struct {
	v1.UnimplementedPodResourcesListerServer
	t      *testing.T
	socket string

	mu     sync.Mutex
	answer func(context.Context) (*v1.ListPodResourcesResponse, error)
}

func (k *kubelet) List(ctx context.Context, _ *v1.ListPodResourcesRequest) (*v1.ListPodResourcesResponse, error) {
	k.mu.Lock()
	answer := k.answer
	k.mu.Unlock()
	return answer(ctx)
}

// says sets the answer.
func (k *kubelet) says(pods ...*v1.PodResources) {
	k.does(func(context.Context) (*v1.ListPodResourcesResponse, error) {
		return &v1.ListPodResourcesResponse{PodResources: pods}, nil
	})
}

func (k *kubelet) does(answer func(context.Context) (*v1.ListPodResourcesResponse, error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer = answer
}

func newKubelet(t *testing.T) *kubelet {
	k := &kubelet{t: t, socket: filepath.Join(t.TempDir(), "kubelet.sock")}
	k.says()
	return k
}

// start serves until stop is called, or the test ends.
func (k *kubelet) start() (stop func()) {
	k.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(k.t.Context(), "unix", k.socket)
	if err != nil {
		k.t.Fatal(err)
	}
	s := grpc.NewServer()
	v1.RegisterPodResourcesListerServer(s, k)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // it says that it was stopped
	}()
	stop = sync.OnceFunc(func() { s.Stop(); <-done })
	k.t.Cleanup(stop)
	return stop
}

func (k *kubelet) client(timeout time.Duration) *Client {
	k.t.Helper()
	c, err := Kubelet(k.socket, timeout)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			k.t.Error(err)
		}
	})
	return c
}

func pod(name string, boxes ...*v1.ContainerResources) *v1.PodResources {
	return &v1.PodResources{Namespace: "team", Name: name, Containers: boxes}
}

func box(name, resource string, ids ...string) *v1.ContainerResources {
	return &v1.ContainerResources{Name: name, Devices: []*v1.ContainerDevices{{ResourceName: resource, DeviceIds: ids}}}
}

// generous is for calls that must succeed however busy the machine is.
const generous = time.Minute

func TestListTakesTheGPUsOutOfAnAnswer(t *testing.T) {
	k := newKubelet(t)
	k.start()
	share := "s1"
	claims := &v1.ContainerResources{Name: "c", DynamicResources: []*v1.DynamicResource{{ClaimName: "gpu", ClaimResources: []*v1.ClaimResource{
		{DriverName: Driver, PoolName: "node-1", DeviceName: "gpu-3"},
		{DriverName: Driver, PoolName: "node-1", DeviceName: "gpu-4", ShareId: &share},
		{DriverName: "dra.cpu", PoolName: "node-1", DeviceName: "cpu-4"},
	}}}}
	both := box("a", "nvidia.com/gpu", "GPU-"+id+"::1", "GPU-"+id+"::2", "nonsense")
	both.Devices = append(both.Devices, &v1.ContainerDevices{ResourceName: "rdma/hca", DeviceIds: []string{"mlx5_0"}})
	k.says(pod("z", box("b", "nvidia.com/mig-1g.10gb", "MIG-"+id)), pod("y", both, claims), pod("x"), pod("w", box("a", "cpu", "1")), &v1.PodResources{})
	got, err := k.client(generous).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Assignment{
		{"team", "y", "a", "nvidia.com/gpu", "GPU-" + id, true},
		{"team", "y", "c", Driver, "node-1/gpu-3", false},
		{"team", "y", "c", Driver, "node-1/gpu-4", true},
		{"team", "z", "b", "nvidia.com/mig-1g.10gb", "MIG-" + id, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// fails expects an error with a reason.
func fails(t *testing.T, l Lister, reason string) {
	t.Helper()
	list, err := l.List(t.Context())
	var e *Error
	if !errors.As(err, &e) || e.Reason != reason || list != nil {
		t.Errorf("%v, %v, want %s", list, err, reason)
	}
}

func TestWhyTheKubeletDoesNotAnswerIsTold(t *testing.T) {
	k := newKubelet(t)
	k.start()
	refuse := func(c codes.Code, text string) func(context.Context) (*v1.ListPodResourcesResponse, error) {
		return func(context.Context) (*v1.ListPodResourcesResponse, error) { return nil, status.Error(c, text) }
	}
	for _, tt := range []struct {
		name   string
		answer func(context.Context) (*v1.ListPodResourcesResponse, error)
		want   string
	}{
		{"slow", func(ctx context.Context) (*v1.ListPodResourcesResponse, error) { <-ctx.Done(); return nil, ctx.Err() }, "Timeout"},
		{"asked by others too often", refuse(codes.ResourceExhausted, throttled), "Throttled"},
		{"huge", func(context.Context) (*v1.ListPodResourcesResponse, error) {
			return &v1.ListPodResourcesResponse{PodResources: []*v1.PodResources{pod(strings.Repeat("x", mostBytes))}}, nil
		}, "TooLarge"},
		{"full of devices", func(context.Context) (*v1.ListPodResourcesResponse, error) {
			ids := make([]string, mostAssignments+1)
			for i := range ids {
				ids[i] = fmt.Sprintf("nvidia%d", i)
			}
			return &v1.ListPodResourcesResponse{PodResources: []*v1.PodResources{pod("p", box("a", "nvidia.com/gpu", ids...))}}, nil
		}, "TooLarge"},
		{"without the service", refuse(codes.Unimplemented, "unknown service"), "Disabled"},
		{"broken", refuse(codes.Unknown, "internal error"), "Failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k.does(tt.answer)
			timeout := generous
			if tt.want == "Timeout" {
				timeout = 50 * time.Millisecond
			}
			fails(t, k.client(timeout), tt.want)
		})
	}
}

func TestAnErrorSaysWhatToDo(t *testing.T) {
	k := newKubelet(t)
	c := k.client(generous)
	_, err := c.List(t.Context())
	if text := fmt.Sprint(err); !strings.HasPrefix(text, "podresources: NoSocket: ") || !strings.Contains(text, "mount the folder of "+k.socket) {
		t.Error(text)
	}
	if status.Code(errors.Unwrap(err)) != codes.Unavailable {
		t.Error("it does not say what happened:", errors.Unwrap(err))
	}
}

func TestAKubeletThatRestartsIsFoundAgain(t *testing.T) {
	k := newKubelet(t)
	c := k.client(generous)
	fails(t, c, "NoSocket")
	for range 2 {
		stop := k.start()
		k.says(pod("p", box("a", "nvidia.com/gpu", "nvidia0")))
		answers(t, c)
		stop()
		fails(t, c, "NoSocket") // a listener that closes removes its socket
	}
}

// answers waits until the client has an answer.
func answers(t *testing.T, c *Client) {
	t.Helper()
	end := time.Now().Add(generous)
	for {
		list, err := c.List(t.Context())
		if err == nil && len(list) == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatal(list, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A socket that a kubelet left behind when it was killed, and one of which something else
// listens.
func TestASocketWithoutAKubeletBehindIt(t *testing.T) {
	k := newKubelet(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: k.socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fails(t, k.client(generous), "Unavailable")
	if err := os.Remove(k.socket); err != nil {
		t.Fatal(err)
	}

	garbage, err := net.ListenUnix("unix", &net.UnixAddr{Name: k.socket})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := garbage.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\nthis is no gRPC")
				_ = c.Close()
			})
		}
	})
	fails(t, k.client(generous), "Unavailable")
	if err := garbage.Close(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
}

// rawBytes is a codec that sends bytes as they are.
type rawBytes struct{}

func (rawBytes) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (rawBytes) Unmarshal(b []byte, v any) error { *v.(*[]byte) = b; return nil }
func (rawBytes) Name() string                    { return "proto" }

func TestBytesThatAreNoAnswerAreAnError(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "kubelet.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodec(rawBytes{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var in []byte
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		out := []byte{0x0a, 0xff, 0xff, 0xff} // a pod that is longer than what there is
		return stream.SendMsg(&out)
	}))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	defer func() { s.Stop(); <-done }()
	c, err := Kubelet(socket, generous)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the test ends
	fails(t, c, "Malformed")
}
