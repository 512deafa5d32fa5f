// Drives a verilated component behind a C interface, so that Python is not in the inner loop.
// The generated ports.h defines MODEL, the verilated class, and PORTS(X): X(name, bytes, last_mask).
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "ports.h"
#include "verilated.h"
#ifdef TRACE
#include "verilated_fst_c.h"
#endif

struct Port {
    uint8_t* data;
    int32_t bytes;
    uint8_t last_mask;  // the bits of the last byte that belong to the port
};

// A stream of the component, as Python describes it (the same layout as harness.py's _Stream).
struct Stream {
    int32_t valid, ready, payload;  // numbers of ports
    int32_t is_source;              // whether this side sends
    uint8_t* beats;                 // what is sent, or room for what is received
    int64_t count;                  // beats to send, or expected
    int64_t* stamps;                // the cycle in which each beat passed
    const uint8_t* gates;           // cycle by cycle, whether this side may start a transfer
    int64_t gate_count;             // cycles after which `gates` repeats
    int64_t done;                   // beats that passed
    int64_t violations;             // of the protocol, one bit each
};

enum Violation { DROPPED = 1, CHANGED = 2, SURPLUS = 4, READY_FOLLOWS = 8, VALID_FOLLOWS = 16 };

struct Model {
    VerilatedContext context;
    std::unique_ptr<MODEL> top;
    std::vector<Port> ports;
#ifdef TRACE
    std::unique_ptr<VerilatedFstC> trace;
#endif

    explicit Model(int32_t seed) {
        context.randReset(2);  // registers start with random values: only reset may be relied on
        context.randSeed(seed);
#ifdef TRACE
        context.traceEverOn(true);
#endif
        top = std::make_unique<MODEL>(&context);
#define X(name, bytes, last_mask) \
    ports.push_back({reinterpret_cast<uint8_t*>(&top->name), bytes, last_mask});
        PORTS(X)
#undef X
    }

    void dump() {
#ifdef TRACE
        if (trace) trace->dump(context.time());
#endif
        context.timeInc(1);
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
    }
};

namespace {

// The state of one run that is not Python's business.
struct Side {
    bool offered = false;  // source: valid is held until ready
    bool held = false;     // sink: the last cycle offered a beat that was not taken
    std::vector<uint8_t> last;
};

void junk(const Port& port) {
    std::memset(port.data, 0xA5, port.bytes);
    port.data[port.bytes - 1] &= port.last_mask;
}

void drive(Model& model, Stream& stream, Side& side, int64_t cycle) {
    const bool gate = stream.gates[cycle % stream.gate_count];
    if (!stream.is_source) {
        *model.ports[stream.ready].data = gate;
        return;
    }
    const Port& payload = model.ports[stream.payload];
    if (!side.offered && gate && stream.done < stream.count) {
        side.offered = true;
        std::memcpy(payload.data, stream.beats + stream.done * payload.bytes, payload.bytes);
    } else if (!side.offered) {
        junk(payload);  // a component that looks at it must be caught
    }
    *model.ports[stream.valid].data = side.offered;
}

// ready must not follow its own valid and payload, nor valid and payload their own ready.
void probe(Model& model, Stream& stream) {
    uint8_t& valid = *model.ports[stream.valid].data;
    uint8_t& ready = *model.ports[stream.ready].data;
    const Port& payload = model.ports[stream.payload];
    const std::vector<uint8_t> kept(payload.data, payload.data + payload.bytes);
    const uint8_t kept_valid = valid, kept_ready = ready;
    if (stream.is_source) {
        valid = !valid;
        junk(payload);
        model.top->eval();
        if (ready != kept_ready) stream.violations |= READY_FOLLOWS;
        valid = kept_valid;
        std::memcpy(payload.data, kept.data(), payload.bytes);
    } else {
        ready = !ready;
        model.top->eval();
        const bool same = std::memcmp(payload.data, kept.data(), payload.bytes) == 0;
        if (valid != kept_valid || (valid && !same)) stream.violations |= VALID_FOLLOWS;
        ready = kept_ready;
    }
    model.top->eval();
}

void pass(Model& model, Stream& stream, Side& side, int64_t cycle) {
    const bool valid = *model.ports[stream.valid].data, ready = *model.ports[stream.ready].data;
    const Port& payload = model.ports[stream.payload];
    if (!stream.is_source) {
        if (side.held && !valid) stream.violations |= DROPPED;
        if (side.held && valid && std::memcmp(payload.data, side.last.data(), payload.bytes))
            stream.violations |= CHANGED;
        side.held = valid && !ready;
        if (side.held) side.last.assign(payload.data, payload.data + payload.bytes);
    }
    if (!valid || !ready) return;
    side.offered = false;
    if (stream.done == stream.count) {
        stream.violations |= SURPLUS;
        return;
    }
    if (!stream.is_source)
        std::memcpy(stream.beats + stream.done * payload.bytes, payload.data, payload.bytes);
    stream.stamps[stream.done++] = cycle;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

void* model_new(int32_t seed) { return new Model(seed); }

void model_delete(Model* model) {
#ifdef TRACE
    if (model->trace) model->trace->close();
#endif
    Verilated::threadContextp(&model->context);  // else its scopes leave that of the last model
    model->top->final();
    delete model;
}

uint8_t* model_port(Model* model, int32_t port) { return model->ports[port].data; }

void model_eval(Model* model) { model->low(); }

void model_tick(Model* model, int64_t cycles) {
    for (int64_t i = 0; i < cycles; i++) {
        model->low();
        model->high();
    }
    model->low();
}

int32_t model_trace(Model* model, const char* path) {
#ifdef TRACE
    model->trace = std::make_unique<VerilatedFstC>();
    model->top->trace(model->trace.get(), 99);
    model->trace->open(path);
    return model->trace->isOpen();
#else
    return 0;
#endif
}

// Runs until every beat has passed and `drain` cycles more; returns the cycles until then.
int64_t model_run(Model* model, Stream* streams, int32_t stream_count, int64_t max_cycles,
                  int64_t drain, int32_t probing) {
    std::vector<Side> sides(stream_count);
    int64_t finished = -1;
    for (int64_t cycle = 0; cycle < max_cycles; cycle++) {
        for (int i = 0; i < stream_count; i++) drive(*model, streams[i], sides[i], cycle);
        model->low();
        if (probing)
            for (int i = 0; i < stream_count; i++) probe(*model, streams[i]);
        bool all = true;
        for (int i = 0; i < stream_count; i++) {
            pass(*model, streams[i], sides[i], cycle);
            all &= streams[i].done == streams[i].count;
        }
        model->high();
        if (all && finished < 0) finished = cycle + 1;
        if (finished >= 0 && cycle + 1 >= finished + drain) return finished;
    }
    return finished < 0 ? max_cycles : finished;
}

}
#pragma GCC visibility pop
