package trace

import "testing"

// Each parser is fed any bytes: it must return problems or a trace that holds
// checkInvariants, never both, never panic. Seeds are small valid inputs.
func fuzzParser(f *testing.F, read func(source, *Problems) *Trace) {
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		ps := &Problems{}
		tr := read(source{"fuzz", data}, ps)
		if ps.Total > 0 {
			if ps.Error() == "" {
				t.Fatal("problems without a text")
			}
			return
		}
		if tr == nil {
			t.Fatal("neither a trace nor a problem")
		}
		tr.settle()
		checkInvariants(t, tr)
	})
}

var (
	seedNodes  = source{"nodes", []byte(okNodes)}
	seedQueues = source{"queues", []byte(okQueues)}
	seedJobs   = source{"jobs", []byte(okJobs)}
)

func FuzzJobsCSV(f *testing.F) {
	f.Add([]byte(okJobs))
	f.Add([]byte("job,queue,submit_s,workers,min_workers,gpus_per_worker,preemptible\nx,root.a,1.5,4,2,0.5,false\n"))
	fuzzParser(f, func(s source, ps *Problems) *Trace { return readCSV(&Trace{}, s, seedNodes, seedQueues, ps) })
}

func FuzzQueuesCSV(f *testing.F) {
	f.Add([]byte(okQueues))
	f.Add([]byte("queue,idle_after,idle_grace\na,30m,10s\nb,never,\n"))
	f.Add([]byte("queue,parent\na,b\nb,a\n"))
	f.Add([]byte("queue\nroot.x.a\nroot.x\nroot\n"))
	fuzzParser(f, func(s source, ps *Problems) *Trace { return readCSV(&Trace{}, seedJobs, seedNodes, s, ps) })
}

func FuzzYAML(f *testing.F) {
	f.Add([]byte("muster: trace/v1\nnodes:\n  - {node: n, gpus: 4, count: 3}\nqueues:\n  - name: a\n    children:\n      - name: b\njobs:\n  - {job: j, queue: b, submit_s: 0, gpus_per_worker: 1, count: 5}\n"))
	f.Add(useYAML)
	f.Add([]byte("muster: &a trace/v1\nname: *a\njobs: null\n"))
	f.Add([]byte("? - - x\n: {a: [}\n"))
	fuzzParser(f, func(s source, ps *Problems) *Trace { return parseYAML(s, Options{}, ps) })
}

func FuzzSWF(f *testing.F) {
	f.Add([]byte("; MaxProcs: 12\n1 0 0 10 4 1 1 4 20 1 1 1 1 1 1 1 1 1 q x\n2 3 0 -1 4 1 1 4 -1 1 1 1 1 1 1 1 1 1\n"))
	fuzzParser(f, func(s source, ps *Problems) *Trace { return readSWF(s, source{}, Options{}, ps) })
}

func FuzzForeignLists(f *testing.F) {
	f.Add([]byte("job,num_gpu,submit_s,iterations,duration_s\n0,16,0.0,1,9.454\n"))
	f.Add([]byte("job,arrival_s,gpus,exclusive_s\n0,0,1,12.81\n"))
	f.Add([]byte("job_id,user,num_gpu,submit_time,duration,expect_time_list,best_effort\n0,v,1,5,7,11-12,0\n"))
	f.Add([]byte("submit_s,duration_s,num_gpus,vc\n-45,30,12,6214e9\n1,1,1,none\n"))
	f.Add([]byte("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time,scheduled_time\np,1,1,1,500,A|B,1,2,\n"))
	nodes := source{"nodes", []byte("sn,cpu_milli,memory_mib,gpu,model\nn,1,1,2,T4\n")}
	fuzzParser(f, func(s source, ps *Problems) *Trace {
		switch detect(s) {
		case "muri":
			return parseMuri(s, Options{}, ps)
		case "shockwave":
			return parseShockwave(s, Options{}, ps)
		case "chronus":
			return parseChronus(s, Options{}, ps)
		case "philly":
			return readPhilly(s, source{}, phillyVCs, Options{}, ps)
		case "openb":
			return readOpenb(s, nodes, Options{}, ps)
		}
		ps.file(s.name, CodeFormat, "none of the lists", "")
		return nil
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		ps := &Problems{}
		if _, ok := unpack("x", data, ps); ok != (ps.Total == 0) {
			t.Fatal("a problem and a result, or neither")
		}
	})
}
