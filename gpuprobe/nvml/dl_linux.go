//go:build linux && (amd64 || arm64)

package nvml

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/ebitengine/purego"
)

// Driver is the driver's own library, opened and initialised: the Library of Open.
type Driver struct {
	symbols
	missing []string

	path, watch string // the file that is mapped; the name by which its successor will come
	id          FileID

	// mu is held for reading by whoever is in the driver: unloading its code under
	// them would be the end of the process.
	mu      sync.RWMutex
	closed  bool
	library uintptr

	gpusMu sync.Mutex
	gpus   []*gpu // by index, as of the last Devices; never gets shorter

	events events
}

// Open loads and initialises the library from the first of the paths (none: SearchPaths
// below /) that leads to one which works. A name without a slash is searched by the
// loader. The error is ErrLibraryNotFound if there is no library at all, else what the
// libraries that are there said, by path.
//
// It may hang in the driver, as may all that Library does: see Guard and Reopener.
func Open(paths ...string) (Library, error) {
	if len(paths) == 0 {
		paths = SearchPaths("")
	}
	var absent, broken []error
	for _, path := range paths {
		d, err := open(path)
		switch {
		case err == nil:
			return d, nil
		case errors.Is(err, ErrLibraryNotFound):
			absent = append(absent, err)
		default:
			broken = append(broken, err)
		}
	}
	switch {
	case len(broken) > 0:
		return nil, errors.Join(broken...)
	case len(absent) > 2: // a dozen times the same
		return nil, fmt.Errorf("%w; nor is it at %d other paths, the last %s", absent[0], len(paths)-1, paths[len(paths)-1])
	}
	return nil, errors.Join(absent...)
}

// initSymbol is in every libnvidia-ml, and in nothing else.
const initSymbol = "nvmlInit_v2"

func open(path string) (*Driver, error) {
	file := path
	if strings.Contains(path, "/") {
		// The real name, which has the version in it: by the name of a link the loader
		// would answer with a library that it has already, maybe of the driver before.
		var err error
		if file, err = filepath.EvalSymlinks(path); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLibraryNotFound, err)
		}
	}
	library, err := load(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLibraryNotFound, err)
	}
	d := &Driver{library: library}
	d.missing = d.bind(library)
	if err = d.identify(path); err == nil {
		err = d.init().orNil()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), purego.Dlclose(library))
	}
	return d, nil
}

// load loads a library. Why it can't is kept by thread, and asked for by another call.
func load(file string) (uintptr, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return purego.Dlopen(file, purego.RTLD_NOW|purego.RTLD_LOCAL)
}

// identify finds the file that the library came from, and refuses one that was deleted:
// then the loader still has the driver before.
func (d *Driver) identify(asked string) error {
	at, err := purego.Dlsym(d.library, initSymbol)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrNoSymbol, initSymbol)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	path, ok := mappedFile(string(maps), uint64(at))
	if !ok {
		path = asked
	}
	if deleted, was := strings.CutSuffix(path, " (deleted)"); was {
		return fmt.Errorf("%w: %s was deleted and is still loaded", ErrLibraryVersion, deleted)
	}
	d.path, d.watch = path, asked
	if !strings.Contains(asked, "/") {
		d.watch = filepath.Join(filepath.Dir(path), soname)
	}
	if d.id, err = fileID(d.watch); err != nil {
		d.watch = path
		d.id, err = fileID(path)
	}
	return err
}

// mappedFile is the file behind an address, by the text of /proc/PID/maps.
func mappedFile(maps string, at uint64) (path string, ok bool) {
	for line := range strings.Lines(maps) {
		var from, to uint64
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n != 2 || at < from || at >= to {
			continue
		}
		slash := strings.IndexByte(line, '/')
		if slash < 0 {
			return "", false
		}
		return strings.TrimSuffix(line[slash:], "\n"), true
	}
	return "", false
}

func fileID(path string) (FileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return FileID{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return FileID{}, fmt.Errorf("%s: no inode", path)
	}
	return FileID{Device: st.Dev, Inode: st.Ino}, nil
}

// Path is the file that is loaded, with all links followed.
func (d *Driver) Path() string { return d.path }

// ID is of the file that is loaded.
func (d *Driver) ID() FileID { return d.id }

// Changed says that an upgrade has replaced the file, or removed it.
func (d *Driver) Changed() bool {
	id, err := fileID(d.watch)
	return err != nil || id != d.id
}

// enter holds the library open for a call; leave with d.mu.RUnlock.
func (d *Driver) enter() error {
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return ErrUninitialized
	}
	return nil
}

// System tells the versions. What the driver does not tell stays empty.
func (d *Driver) System() (System, error) {
	if err := d.enter(); err != nil {
		return System{}, err
	}
	defer d.mu.RUnlock()
	s := System{Missing: slices.Clone(d.missing), Path: d.path}
	var buffer [80]byte
	rc := d.driverVersion(&buffer[0], uint32(len(buffer)))
	if rc != 0 {
		return s, rc
	}
	s.Driver = text(buffer[:])
	if d.nvmlVersion(&buffer[0], uint32(len(buffer))) == 0 {
		s.NVML = text(buffer[:])
	}
	var cuda int32
	if d.cudaVersion(&cuda) == 0 {
		s.CUDA = int(cuda)
	}
	return s, nil
}

// Devices lists the GPUs. One that was there before keeps what it remembers.
func (d *Driver) Devices() ([]Device, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.mu.RUnlock()
	gpus, err := d.list()
	if err != nil {
		return nil, err
	}
	return devices(gpus), nil
}

func devices(gpus []*gpu) []Device {
	list := make([]Device, len(gpus))
	for i, g := range gpus {
		list[i] = g
	}
	return list
}

func (d *Driver) list() ([]*gpu, error) {
	d.gpusMu.Lock()
	defer d.gpusMu.Unlock()
	var count uint32
	if rc := d.count(&count); rc != 0 {
		return nil, rc
	}
	if count > 1024 {
		return nil, fmt.Errorf("%w: the driver counts %d GPUs", ErrUnknown, count)
	}
	for i := range max(int(count), len(d.gpus)) {
		var handle uintptr
		rc := ErrGPULost // the driver counts fewer than before
		if i < int(count) {
			rc = d.handle(uint32(i), &handle)
		}
		if i == len(d.gpus) {
			d.gpus = append(d.gpus, newGPU(d, i, handle, rc))
		} else if d.gpus[i].handle != handle || d.gpus[i].absent != rc {
			d.gpus[i].forget()
			d.gpus[i] = newGPU(d, i, handle, rc)
		}
	}
	return slices.Clone(d.gpus), nil
}

// Close gives everything back. It waits for the calls that are in the driver.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	for _, g := range d.gpus {
		g.forget()
	}
	d.events.drop(d)
	return errors.Join(d.shutdown().orNil(), purego.Dlclose(d.library))
}
