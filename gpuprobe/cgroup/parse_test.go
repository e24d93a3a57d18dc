package cgroup

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

const (
	uid    = "8f1c2d3e-0a1b-2c3d-4e5f-60718293a4b5"
	under  = "8f1c2d3e_0a1b_2c3d_4e5f_60718293a4b5"
	other  = "11111111-2222-3333-4444-555555555555"
	static = "0123456789abcdef0123456789abcdef"
)

var (
	box  = strings.Repeat("ab", 32)
	box2 = strings.Repeat("cd", 32)
)

func TestEveryShapeOfACgroupNamesItsOwner(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Owner
	}{
		{"v2, systemd, containerd, burstable", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + box + ".scope\n", Owner{Pod: uid, Container: box}},
		{"v2, systemd, besteffort", "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + under + ".slice/cri-containerd-" + box + ".scope\n", Owner{Pod: uid, Container: box}},
		{"v2, systemd, guaranteed", "0::/kubepods.slice/kubepods-pod" + under + ".slice/cri-containerd-" + box + ".scope\n", Owner{Pod: uid, Container: box}},
		{"v2, systemd, CRI-O", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/crio-" + box + ".scope\n", Owner{Pod: uid, Container: box}},
		{"v2, systemd, CRI-O with crun", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/crio-" + box + ".scope/container\n", Owner{Pod: uid, Container: box}},
		{"conmon of CRI-O is the pod's but no container", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/crio-conmon-" + box + ".scope\n", Owner{Pod: uid}},
		{"v2, systemd, docker", "0::/kubepods.slice/kubepods-pod" + under + ".slice/docker-" + box + ".scope\n", Owner{Pod: uid, Container: box}},
		{"the pod's own cgroup", "0::/kubepods.slice/kubepods-pod" + under + ".slice\n", Owner{Pod: uid}},
		{"v2, cgroupfs", "0::/kubepods/burstable/pod" + uid + "/" + box + "\n", Owner{Pod: uid, Container: box}},
		{"v2, cgroupfs, guaranteed", "0::/kubepods/pod" + uid + "/" + box + "\n", Owner{Pod: uid, Container: box}},
		{"v2, cgroupfs, CRI-O", "0::/kubepods/besteffort/pod" + uid + "/crio-" + box + "\n", Owner{Pod: uid, Container: box}},
		{"a static pod, systemd", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + static + ".slice/cri-containerd-" + box + ".scope\n", Owner{Pod: static, Container: box}},
		{"a static pod, cgroupfs", "0::/kubepods/burstable/pod" + static + "/" + box + "\n", Owner{Pod: static, Container: box}},
		{"kind: a nested node", "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" + under + ".slice/cri-containerd-" + box + ".scope\n", Owner{Pod: uid, Container: box}},
		{"kind seen from its host", "0::/system.slice/docker-" + box2 + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under + ".slice/cri-containerd-" + box + ".scope\n", Owner{Pod: uid, Container: box}},
		{"kind with cgroupfs", "0::/docker/" + box2 + "/kubelet/kubepods/burstable/pod" + uid + "/" + box + "\n", Owner{Pod: uid, Container: box}},
		{"drivers that do not match", "0::/system.slice/containerd.service/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + box + "\n", Owner{Pod: uid, Container: box}},
		{"from a private namespace, systemd", "0::/../../kubepods-burstable-pod" + under + ".slice/cri-containerd-" + box + ".scope\n", Owner{Pod: uid, Container: box}},
		{"from a private namespace, cgroupfs", "0::/../../pod" + uid + "/" + box + "\n", Owner{Pod: uid, Container: box}},
		{"our own container in a private namespace", "0::/\n", Owner{Path: "/"}},
		{"v1, systemd", "12:pids:/kubepods.slice/kubepods-pod" + under + ".slice/cri-containerd-" + box + ".scope\n11:memory:/kubepods.slice/kubepods-pod" + under + ".slice/cri-containerd-" + box + ".scope\n1:name=systemd:/kubepods.slice/kubepods-pod" + under + ".slice/cri-containerd-" + box + ".scope\n", Owner{Pod: uid, Container: box}},
		{"v1, cgroupfs, several controllers", "4:cpu,cpuacct:/\n3:memory,hugetlb:/kubepods/burstable/pod" + uid + "/" + box + "\n2:pids:/system.slice\n", Owner{Pod: uid, Container: box}},
		{"v1 where only a rare hierarchy has the pod", "9:name=systemd:/kubepods/pod" + uid + "/" + box + "\n8:pids:/\n4:memory:/\n", Owner{Pod: uid, Container: box}},
		{"v1 and v2 side by side, v2 unused", "8:memory:/kubepods/pod" + uid + "/" + box + "\n0::/\n", Owner{Pod: uid, Container: box}},
		{"no pod, v1 beside an unused v2", "8:pids:/elsewhere\n7:memory:/slurm/uid_0/job_7\n0::/\n", Owner{Path: "/slurm/uid_0/job_7"}},
		{"a container of docker", "0::/docker/" + box + "\n", Owner{Container: box, Path: "/docker/" + box}},
		{"a container of docker, systemd", "0::/system.slice/docker-" + box + ".scope\n", Owner{Container: box, Path: "/system.slice/docker-" + box + ".scope"}},
		{"a service of the host", "0::/system.slice/nvidia-persistenced.service\n", Owner{Path: "/system.slice/nvidia-persistenced.service"}},
		{"a kernel thread", "0::/\n", Owner{Path: "/"}},
		{"a cgroup that was removed", "0::/kubepods/pod" + uid + "/" + box + " (deleted)\n", Owner{Pod: uid, Container: box}},
		{"a pod below a pod is the outer one's", "0::/kubepods/pod" + uid + "/" + box + "/kubelet/kubepods/pod" + other + "/" + box2 + "\n", Owner{Pod: uid, Container: box}},
		{"no pod, as nothing says kubepods", "0::/mine/pod" + uid + "/" + box + "\n", Owner{Container: box, Path: "/mine/pod" + uid + "/" + box}},
		{"no pod, as the word is part of another", "0::/notkubepods-pod" + under + ".slice\n", Owner{Path: "/notkubepods-pod" + under + ".slice"}},
		{"no pod, as the UID is short", "0::/kubepods/pod1234/x\n", Owner{Path: "/kubepods/pod1234/x"}},
		{"no pod, as the UID has a g", "0::/kubepods/podg" + uid[1:] + "\n", Owner{Path: "/kubepods/podg" + uid[1:]}},
		{"no pod, as something follows", "0::/kubepods-pod" + under + ".slices\n", Owner{Path: "/kubepods-pod" + under + ".slices"}},
		{"no pod in the class's own cgroup", "0::/kubepods.slice/kubepods-burstable.slice\n", Owner{Path: "/kubepods.slice/kubepods-burstable.slice"}},
		{"an id of the wrong length is none", "0::/kubepods/pod" + uid + "/" + box + "ab\n", Owner{Pod: uid}},
		{"a path that is not UTF-8", "0::/a\xff\xfeb\n", Owner{Path: "/a?b"}},
		{"lines that say nothing", "\nx\n::\n0:/a\n-1:a:/b\n0::/fine", Owner{Path: "/fine"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.text)
			if err != nil || got != tt.want {
				t.Errorf("%+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
}

func TestWhatIsNoCgroupFileIsAnError(t *testing.T) {
	for _, text := range []string{
		"", "\n", "\n\n\n", "0", "0:", "0::", "0::\n", "0::kubepods", "::/a", "a::/a", " 0::/a", "0x0::/a", "-1::/a",
		"0:/kubepods/pod" + uid, "0::/a\x00b", "\x00", "No such process", strings.Repeat("0:", 10_000), "٠::/a",
	} {
		if got, err := Parse(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.40q is %+v, %v", text, got, err)
		}
	}
}

func TestNameTellsPodsFromOthers(t *testing.T) {
	if got := (Owner{Pod: uid, Container: box}).Name(); got != uid {
		t.Error(got)
	}
	if got := (Owner{Path: "/system.slice"}).Name(); got != "host:/system.slice" {
		t.Error(got)
	}
}

// Whatever a pod puts behind its own cgroup, and whatever else the file says, it remains
// the owner.
func TestAPodCannotNameItselfAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := rapid.SampledFrom([]string{
			"/kubepods/pod" + uid, "/kubepods.slice/kubepods-pod" + under + ".slice", "/../pod" + uid,
			"/a.service/kubepods-pod" + under + ".slice:cri-containerd:" + box,
		}).Draw(t, "own")
		inner := rapid.SliceOf(rapid.SampledFrom([]string{
			"kubepods", "pod" + other, "kubepods-pod" + strings.ReplaceAll(other, "-", "_") + ".slice", "..", "", box2, "a:b",
		})).Draw(t, "inner")
		o, err := Parse("0::" + own + "/" + strings.Join(inner, "/") + "\n")
		if err != nil || o.Pod != uid {
			t.Fatalf("%+v, %v", o, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"0::/kubepods/burstable/pod" + uid + "/" + box + "\n", "0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + box + ".scope/container\n",
		"0::/a/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + box, "8:memory:/\n0::/\n", "0::/../../pod" + static, "0::/a\xff",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := Parse(text)
		if err != nil {
			if o != (Owner{}) {
				t.Errorf("an owner with an error: %+v", o)
			}
			return
		}
		if (o.Pod == "") == (o.Path == "") {
			t.Errorf("neither or both of pod and path: %+v", o)
		}
		if o.Pod != "" && !isUID(o.Pod, '-') || o.Container != "" && (len(o.Container) != containerLength || !hex(o.Container)) {
			t.Errorf("%+v", o)
		}
		if !utf8.ValidString(o.Name()) {
			t.Errorf("%q can't be put into a report", o.Name())
		}
		if o.Start != 0 {
			t.Errorf("it began at %d", o.Start)
		}
		if again, err := Parse("0::/x\n" + text); o.Pod != "" && (err != nil || again.Pod != o.Pod) {
			t.Errorf("with another line it is %+v, %v", again, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + box + ".scope\n"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
