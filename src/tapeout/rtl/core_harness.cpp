// Drives a verilated chip behind a C interface: memory on its AXI4 ports, a host on its AXI4-Lite
// port, and what it tells of the instructions that it has done.
// The generated ports.h defines MODEL, the verilated class, and PORTS(X): X(name, bytes, last_mask).
#include <map>
#include <memory>

#include "axi_memory.cpp"
#include "ports.h"
#include "verilated.h"
#include "verilated_syms.h"
#ifdef TRACE
#include "verilated_fst_c.h"
#endif

// An instruction was executed, sent or done: the same layout as simulation.py's EVENT.
struct Event {
    int64_t cycle;
    int32_t number;
    int16_t core, queue;
};

// The same layout as simulation.py's _State.
struct State {
    int64_t cycle, idle_cycles, waiting, events, lost_events;
    int64_t reads, writes, read_beats, write_beats;
    int64_t violations, interrupt;
};

// The same layout as simulation.py's _Array.
struct Array {
    const char *scope, *name;
    uint8_t* data;
    int64_t entries, entry_bytes, entry_bits;
};

enum Reason { CYCLES = 0, INTERRUPT = 1, RETIRED = 2, STUCK = 4, VIOLATION = 8, FULL = 16 };

constexpr const char* QUEUES[] = {"cp", "ld", "st", "mu", "vu"};
constexpr int QUEUE_COUNT = 5;
constexpr size_t EVENTS = 1 << 16;
constexpr int64_t HOST_CYCLES = 100000;  // that an access of the host may take

// The host's side of the AXI4-Lite port.
class Host {
   public:
    template <class Find>
    Host(Memory& memory, Find find) : memory_(memory), random_{0x5EED} {
        awaddr_ = find("awaddr"), awvalid_ = find("awvalid"), awready_ = find("awready");
        wdata_ = find("wdata"), wstrb_ = find("wstrb");
        wvalid_ = find("wvalid"), wready_ = find("wready");
        bresp_ = find("bresp"), bvalid_ = find("bvalid"), bready_ = find("bready");
        araddr_ = find("araddr"), arvalid_ = find("arvalid"), arready_ = find("arready");
        rdata_ = find("rdata"), rresp_ = find("rresp");
        rvalid_ = find("rvalid"), rready_ = find("rready");
    }

    void idle() {
        for (const Wire& wire : {awvalid_, wvalid_, bready_, arvalid_, rready_}) wire.set(0);
        for (int& wait : wait_) wait = -1;
        answered_ = true;
    }

    void write(uint64_t address, uint32_t value) {
        awaddr_.set(address), wdata_.set(value), wstrb_.set(15);
        begin({&wait_[0], &wait_[1], &wait_[2]});
    }

    void read(uint64_t address) {
        araddr_.set(address);
        begin({&wait_[3], &wait_[4]});
    }

    bool done() const { return answered_; }
    uint32_t value = 0, response = 0;

    void drive() {
        const Wire* wires[] = {&awvalid_, &wvalid_, &bready_, &arvalid_, &rready_};
        for (int i = 0; i < 5; i++) {
            if (wait_[i] > 0) wait_[i]--;
            wires[i]->set(wait_[i] == 0);
        }
    }

    void observe() {
        passes(awvalid_, awready_, 0);
        passes(wvalid_, wready_, 1);
        passes(arvalid_, arready_, 3);
        if (answer("B", bvalid_, bready_, b_held_, {bresp_})) {
            if (wait_[0] >= 0 || wait_[1] >= 0) say("B: before the address and the data");
            finish(2, bresp_);
        }
        if (answer("R", rvalid_, rready_, r_held_, {rdata_, rresp_})) {
            if (wait_[3] >= 0) say("R: before the address");
            value = rdata_.get();
            finish(4, rresp_);
        }
    }

   private:
    // Each channel opens at once, or after some cycles if the memory stalls too.
    void begin(std::initializer_list<int*> waits) {
        for (int* wait : waits) *wait = memory_.options.stall_chance ? random_.below(4) : 0;
        answered_ = false;
    }

    void passes(const Wire& valid, const Wire& ready, int channel) {
        if ((valid.get() & 1) && (ready.get() & 1)) wait_[channel] = -1;
    }

    bool answer(const char* name, const Wire& valid, const Wire& ready, int64_t& held,
                std::initializer_list<Wire> payload) {
        int64_t now = 0;
        for (const Wire& wire : payload) now = now << 34 | wire.get();
        const bool offered = valid.get() & 1;
        if (held >= 0 && (!offered || now != held))
            memory_.report.say(memory_.cycle, "host %s: dropped or changed", name);
        held = offered && !(ready.get() & 1) ? now : -1;
        return offered && (ready.get() & 1);
    }

    void finish(int channel, const Wire& resp) {
        response = resp.get();
        wait_[channel] = -1;
        answered_ = true;
        memory_.activity = memory_.cycle;
    }

    void say(const char* text) { memory_.report.say(memory_.cycle, "host %s", text); }

    Memory& memory_;
    Random random_;
    Wire awaddr_, awvalid_, awready_, wdata_, wstrb_, wvalid_, wready_, bresp_, bvalid_, bready_;
    Wire araddr_, arvalid_, arready_, rdata_, rresp_, rvalid_, rready_;
    int wait_[5] = {-1, -1, -1, -1, -1};  // aw, w, b, ar, r: cycles until open; -1: closed
    int64_t b_held_ = -1, r_held_ = -1;
    bool answered_ = true;
};

struct Simulation {
    VerilatedContext context;
    std::unique_ptr<MODEL> top;
    std::map<std::string, Wire> wires;
    Memory memory;
    std::vector<std::unique_ptr<AxiPort>> ports;
    std::unique_ptr<Host> host;
    Wire interrupt;
    std::vector<std::pair<Wire, Wire>> traces;  // valid and number, by core and queue
    std::vector<Event> events = std::vector<Event>(EVENTS);
    int64_t event_count = 0, events_read = 0, lost_events = 0, retired_at = -1;
    std::vector<Array> arrays;
#ifdef TRACE
    std::unique_ptr<VerilatedFstC> trace;
    std::string trace_path;
    int64_t trace_from = 0, trace_to = 0;
#endif

    Simulation(uint8_t* bytes, int64_t size, const Options& options)
        : memory{bytes, uint64_t(size), options, Random{uint64_t(options.seed)}, {}, {}} {
        context.threads(1);
        context.randReset(2);  // registers start with random values: only reset may be relied on
        context.randSeed(int(options.seed & 0x7FFFFFFF) | 1);
#ifdef TRACE
        context.traceEverOn(true);
#endif
        top = std::make_unique<MODEL>(&context);
#define X(name, bytes, last_mask) \
    wires[#name] = Wire{reinterpret_cast<uint8_t*>(&top->name), bytes};
        PORTS(X)
#undef X
        for (int core = 0; wires.count("memory" + std::to_string(core) + "_arvalid"); core++) {
            const std::string prefix = "memory" + std::to_string(core) + "_";
            ports.push_back(std::make_unique<AxiPort>(
                memory, [&](const char* name) { return find(prefix + name); }));
            for (const char* queue : QUEUES) {
                const std::string name = "trace" + std::to_string(core) + "_" + queue;
                traces.push_back({find(name + "_valid"), find(name + "_number")});
            }
        }
        host = std::make_unique<Host>(
            memory, [&](const char* name) { return find(std::string("control_") + name); });
        interrupt = find("interrupt_request");
        list_arrays();
    }

    Wire find(const std::string& name) const {
        const auto found = wires.find(name);
        return found == wires.end() ? Wire{} : found->second;
    }

    void list_arrays() {
        for (const auto& [scope_name, scope] : *context.scopeNameMap()) {
            if (!scope->varsp()) continue;
            for (const auto& [name, var] : *scope->varsp())
                if (var.udims() == 1)
                    arrays.push_back({scope_name, name, static_cast<uint8_t*>(var.datap()),
                                      var.elements(1), var.entSize(), var.entBits()});
        }
    }

    void reset(int64_t cycles) {
        for (auto& port : ports) port->idle();
        host->idle();
        find("rst").set(1);
        for (int64_t i = 0; i < cycles; i++) {
            low();
            if (i > 1)
                for (auto& port : ports) port->check_reset();
            high();
        }
        find("rst").set(0);
    }

    void low() {
        top->clk = 0;
        top->eval();
        dump();
    }

    void high() {
        top->clk = 1;
        top->eval();
        dump();
        memory.tick();
    }

    void dump() {
#ifdef TRACE
        if (!trace_path.empty() && memory.cycle >= trace_from && memory.cycle < trace_to) {
            if (!trace) {
                trace = std::make_unique<VerilatedFstC>();
                top->trace(trace.get(), 99);
                trace->open(trace_path.c_str());
            }
            trace->dump(context.time());
        }
#endif
        context.timeInc(1);
    }

    void cycle() {
        for (auto& port : ports) port->drive();
        host->drive();
        low();
        for (auto& port : ports) port->observe();
        host->observe();
        for (size_t i = 0; i < traces.size(); i++)
            if (traces[i].first.get()) record(i / QUEUE_COUNT, i % QUEUE_COUNT, traces[i].second);
        high();
    }

    void record(int core, int queue, const Wire& number) {
        if (event_count - events_read == int64_t(EVENTS)) events_read++, lost_events++;
        events[event_count++ % EVENTS] = {memory.cycle, int32_t(number.get()), int16_t(core),
                                          int16_t(queue)};
        retired_at = memory.activity = memory.cycle;
    }

    int32_t run(int64_t cycles, int64_t idle_cycles, int32_t stops) {
        for (int64_t i = 0; i < cycles; i++) {
            const int64_t now = memory.cycle;
            cycle();
            int32_t reason = 0;
            if (interrupt.get()) reason |= INTERRUPT;
            if (retired_at == now) reason |= RETIRED;
            if (event_count - events_read > int64_t(EVENTS - 256)) reason |= FULL;
            if (now - memory.activity >= idle_cycles) reason |= STUCK;
            if (!memory.report.lines.empty()) reason |= VIOLATION;
            if (reason & stops) return reason & stops;
        }
        return CYCLES;
    }

    // Whether the access was answered in time.
    bool finish_access() {
        for (int64_t i = 0; i < HOST_CYCLES; i++) {
            if (host->done()) return true;
            cycle();
        }
        host->idle();
        return false;
    }
};

#pragma GCC visibility push(default)
extern "C" {

void* sim_new(uint8_t* bytes, int64_t size, const Options* options) {
    return new Simulation(bytes, size, *options);
}

void sim_delete(Simulation* sim) {
#ifdef TRACE
    if (sim->trace) sim->trace->close();
#endif
    Verilated::threadContextp(&sim->context);  // else it is that of whatever ran last
    sim->top->final();
    delete sim;
}

void sim_reset(Simulation* sim, int64_t cycles) { sim->reset(cycles); }

int32_t sim_run(Simulation* sim, int64_t cycles, int64_t idle_cycles, int32_t stops) {
    return sim->run(cycles, idle_cycles, stops);
}

// The response, or -1 if there was none.
int32_t sim_write(Simulation* sim, int64_t address, uint32_t value) {
    sim->host->write(address, value);
    return sim->finish_access() ? int32_t(sim->host->response) : -1;
}

int32_t sim_read(Simulation* sim, int64_t address, uint32_t* value) {
    sim->host->read(address);
    if (!sim->finish_access()) return -1;
    *value = sim->host->value;
    return sim->host->response;
}

void sim_fault(Simulation* sim, int64_t start, int64_t end, int32_t reads, int32_t writes) {
    sim->memory.faults.push_back({uint64_t(start), uint64_t(end), reads != 0, writes != 0});
}

void sim_state(const Simulation* sim, State* out) {
    const Memory& m = sim->memory;
    int64_t waiting = 0;
    for (const auto& port : sim->ports) waiting += port->waiting();
    *out = {m.cycle,
            m.cycle - m.activity,
            waiting,
            sim->event_count - sim->events_read,
            sim->lost_events,
            m.reads,
            m.writes,
            m.read_beats,
            m.write_beats,
            int64_t(m.report.lines.size()),
            int64_t(sim->interrupt.get())};
}

int64_t sim_events(Simulation* sim, Event* out, int64_t room) {
    int64_t count = 0;
    for (; count < room && sim->events_read < sim->event_count; count++)
        out[count] = sim->events[sim->events_read++ % EVENTS];
    return count;
}

const char* sim_violation(const Simulation* sim, int64_t index) {
    return sim->memory.report.lines[index].c_str();
}

int64_t sim_arrays(const Simulation* sim) { return sim->arrays.size(); }

void sim_array(const Simulation* sim, int64_t index, Array* out) { *out = sim->arrays[index]; }

int32_t sim_trace(Simulation* sim, const char* path, int64_t from, int64_t to) {
#ifdef TRACE
    sim->trace_path = path, sim->trace_from = from, sim->trace_to = to;
    return 1;
#else
    return 0;
#endif
}

}
#pragma GCC visibility pop
