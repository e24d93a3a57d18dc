package bpf

import (
	"debug/elf"
	"testing"
)

func TestTheProbeGoesToTheFirstInstructionThatIsCheap(t *testing.T) {
	for _, tt := range []struct {
		name    string
		code    []byte
		fastNop bool
		at      int
		place   string
	}{
		{"push rbp", []byte{0x55, 0x48, 0x89, 0xe5}, false, 0, "entry (push)"},
		{"push r15", []byte{0x41, 0x57, 0xc3}, false, 0, "entry (push)"},
		{"endbr64; push rbx", []byte{0xf3, 0x0f, 0x1e, 0xfa, 0x53}, false, 4, "entry+4 (push)"},
		{"endbr64; mov rax, rdi; push r14", []byte{0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x89, 0xf8, 0x41, 0x56}, false, 7, "entry+7 (push)"},
		{"mov rax, fs:0x28; push rbp", []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, 0x55}, false, 9, "entry+9 (push)"},
		{"lea rax, [rip+…]; push rbp", []byte{0x48, 0x8d, 0x05, 1, 2, 3, 4, 0x55}, false, 7, "entry+7 (push)"},
		{"mov [rsp+8], rdi; push rbp", []byte{0x48, 0x89, 0x7c, 0x24, 0x08, 0x55}, false, 5, "entry+5 (push)"},
		{"mov rax, imm64; push rbp", []byte{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0x55}, false, 10, "entry+10 (push)"},
		{"cmp dword [rip+…], 0; push rbp", []byte{0x83, 0x3d, 1, 2, 3, 4, 0, 0x55}, false, 7, "entry+7 (push)"},
		{"test eax, eax; je: a call need not come by what follows", []byte{0x85, 0xc0, 0x74, 0x02, 0x55}, false, 0, "entry (single-stepped)"},
		{"sub rsp, 8; ret", []byte{0x48, 0x83, 0xec, 0x08, 0xc3, 0x55}, false, 0, "entry (single-stepped)"},
		{"endbr64; jmp", []byte{0xf3, 0x0f, 0x1e, 0xfa, 0xe9, 1, 2, 3, 4}, false, 4, "entry+4 (jmp)"},
		{"call __fentry__", []byte{0xe8, 1, 2, 3, 4}, false, 0, "entry (call)"},
		{"jmp through a table: not emulated", []byte{0xff, 0x25, 1, 2, 3, 4, 0x55}, false, 0, "entry (single-stepped)"},
		{"nop of one byte", []byte{0x90, 0x55}, false, 0, "entry (nop)"},
		{"nop of five bytes before 6.18; push", []byte{0x0f, 0x1f, 0x44, 0, 0, 0x55}, false, 5, "entry+5 (push)"},
		{"nop of five bytes", []byte{0x0f, 0x1f, 0x44, 0, 0, 0x55}, true, 0, "entry (nop)"},
		{"nothing known", []byte{0xc5, 0xf8, 0x77, 0x55}, false, 0, "entry (single-stepped)"},
		{"cut off", []byte{0x48, 0x8d}, false, 0, "entry (single-stepped)"},
		{"empty", nil, false, 0, "entry (single-stepped)"},
	} {
		if at, place := probePlace(elf.EM_X86_64, tt.code, tt.fastNop); at != tt.at || place != tt.place {
			t.Errorf("%s: %d %s, want %d %s", tt.name, at, place, tt.at, tt.place)
		}
	}
	if at, place := probePlace(elf.EM_AARCH64, []byte{0x55}, true); at != 0 || place != "entry" {
		t.Errorf("arm64: %d %s", at, place)
	}
}

func TestPlacesAreToldShortly(t *testing.T) {
	one, two := site{place: "entry (push)"}, site{place: "entry+4 (push)"}
	for want, in := range map[string][]site{
		"":                                   nil,
		"entry (push)":                       {one, one},
		"2× entry+4 (push), 1× entry (push)": {one, two, two},
	} {
		if got := places(in); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// FuzzProbePlace: whatever the bytes, the place is inside of them, at an instruction that
// the kernel carries out itself, or it is the entry.
func FuzzProbePlace(f *testing.F) {
	f.Add([]byte{0xf3, 0x0f, 0x1e, 0xfa, 0x55}, true)
	f.Add([]byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, 0x55}, false)
	f.Fuzz(func(t *testing.T, code []byte, fastNop bool) {
		at, _ := probePlace(elf.EM_X86_64, code, fastNop)
		if at != 0 && (at >= len(code) || emulated(code[at:], fastNop) == "") {
			t.Errorf("% x: %d", code, at)
		}
	})
}

func TestTheDriverIsLookedForBelowEveryRoot(t *testing.T) {
	if got := (Options{}).candidates(); len(got) != len(driverRoots)*len(driverFolders) {
		t.Errorf("%d places by default", len(got))
	}
	paths := Options{Roots: []string{"", "/driver"}}.candidates()
	for _, want := range []string{"/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/driver/usr/lib64/libcuda.so.1"} {
		found := false
		for _, p := range paths {
			found = found || p == want
		}
		if !found {
			t.Errorf("not looked for: %s", want)
		}
	}
	if got := (Options{Libraries: []string{"/x"}}).candidates(); len(got) != 1 || got[0] != "/x" {
		t.Errorf("%v", got)
	}
}
