// A memory behind an AXI4 port: latency, bandwidth, disorder, stalls and errors on request, and
// checks of what the master on the other side must keep.
#pragma once
#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

// A port of the verilated component.
struct Wire {
    uint8_t* data = nullptr;  // null: the component has no such port, which then reads as zero
    int32_t bytes = 0;

    uint64_t get() const {
        switch (bytes) {
            case 0: return 0;
            case 1: return *data;
            case 2: return *reinterpret_cast<const uint16_t*>(data);
            case 3:
            case 4: return *reinterpret_cast<const uint32_t*>(data);
            default: return *reinterpret_cast<const uint64_t*>(data);
        }
    }
    void set(uint64_t value) const {
        switch (bytes) {
            case 0: return;
            case 1: *data = value; return;
            case 2: *reinterpret_cast<uint16_t*>(data) = value; return;
            case 3:
            case 4: *reinterpret_cast<uint32_t*>(data) = value; return;
            default: *reinterpret_cast<uint64_t*>(data) = value;
        }
    }
    void junk() const {
        if (bytes) std::memset(data, 0xA5, bytes);
    }
};

// As Python fills it in: the same layout as memory_options.py's _Options.
struct Options {
    int64_t seed;
    int64_t read_latency, read_spread, write_latency, write_spread;  // cycles
    int64_t read_rate, write_rate, total_rate;  // beats in 1024 cycles; 0: no limit
    int64_t stall_chance;                       // of 65536, in each cycle and channel
    int64_t stall_cycles;                       // the longest
    int64_t reorder, interleave;                // answers of different IDs; beats of reads
    int64_t early_reads, late_writes;           // take effect when accepted, when answered
    int64_t data_first;                         // write data may come before its address
    int64_t await_data;                         // a write's address waits for its data
    int64_t max_reads, max_writes;              // accepted and not answered
    int64_t fail_read, fail_write;              // this transaction gets an error, from 1; 0: none
};

struct Random {
    uint64_t state;

    uint64_t next() {
        uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }
    int64_t below(int64_t count) { return count > 0 ? next() % count : 0; }
};

// What went wrong, in words, with the cycle; the first few.
struct Report {
    static constexpr size_t LIMIT = 16;
    std::vector<std::string> lines;

    void say(int64_t cycle, const char* format, ...) __attribute__((format(printf, 3, 4))) {
        if (lines.size() == LIMIT) return;
        char text[256];
        va_list values;
        va_start(values, format);
        vsnprintf(text, sizeof text, format, values);
        va_end(values);
        lines.push_back("cycle " + std::to_string(cycle) + ": " + text);
    }
};

struct Fault {
    uint64_t start, end;
    bool reads, writes;
};

enum Response { OKAY = 0, SLVERR = 2, DECERR = 3 };

// A channel that the memory holds back at random.
struct Stall {
    int64_t left = 0;

    bool closed(Random& random, const Options& options) {
        if (!options.stall_chance) return false;
        if (left) return left-- > 0;
        if (int64_t(random.next() & 0xFFFF) >= options.stall_chance) return false;
        left = random.below(options.stall_cycles);
        return true;
    }
};

// The bytes, and what all ports share.
struct Memory {
    uint8_t* bytes;
    uint64_t size;
    Options options;
    Random random;
    Report report;
    std::vector<Fault> faults;
    int64_t cycle = 0;
    int64_t total_credit = 0;
    int64_t activity = 0;  // the last cycle in which anything passed
    int64_t reads = 0, writes = 0, read_beats = 0, write_beats = 0;

    Response fault(uint64_t address, uint64_t length, bool write) const {
        if (address + length > size) return DECERR;
        for (const Fault& fault : faults)
            if ((write ? fault.writes : fault.reads) && address < fault.end &&
                address + length > fault.start)
                return SLVERR;
        return OKAY;
    }
    static void refill(int64_t& credit, int64_t rate) {
        credit = std::min(credit + rate, std::max<int64_t>(rate, 1024) + 1024);
    }
    void tick() {
        cycle++;
        refill(total_credit, options.total_rate);
    }
};

struct Beat {
    uint64_t address;
    std::vector<uint8_t> data, strobe;
    bool last;
};

struct Read {
    uint32_t id;
    uint64_t address;
    int beats, done;
    int64_t ready_at;
    bool fails;
    std::vector<uint8_t> early;  // what memory held when the address was accepted
};

struct Write {
    uint32_t id;
    uint64_t address;
    int beats, done;
    int64_t ready_at;
    Response response;
    bool is_late;
    std::vector<Beat> late;  // what is written when the answer goes out
};

// The master's side of one channel: what it offers must stay until it is taken.
struct Offer {
    const char* name;
    Wire valid, ready;
    std::vector<Wire> payload;
    bool held = false;
    std::vector<uint8_t> kept;

    bool passes(Memory& memory) {
        const bool now = valid.get() & 1;
        if (held && !now) memory.report.say(memory.cycle, "%s: valid dropped", name);
        if (!now) {
            held = false;
            return false;
        }
        if (held) {
            const uint8_t* at = kept.data();
            for (const Wire& wire : payload) {
                if (wire.bytes && std::memcmp(at, wire.data, wire.bytes))
                    memory.report.say(memory.cycle, "%s: payload changed", name);
                at += wire.bytes;
            }
        }
        if (ready.get() & 1) {
            held = false;
            memory.activity = memory.cycle;
            return true;
        }
        if (!held) {
            kept.clear();
            for (const Wire& wire : payload)
                kept.insert(kept.end(), wire.data, wire.data + wire.bytes);
        }
        held = true;
        return false;
    }
};

class AxiPort {
   public:
    template <class Find>
    AxiPort(Memory& memory, Find find) : memory_(memory), options_(memory.options) {
        ar_ = {"AR", find("arvalid"), find("arready"), {}};
        for (const char* name : {"araddr", "arlen", "arsize", "arburst", "arid", "arcache", "arprot"})
            ar_.payload.push_back(find(name));
        aw_ = {"AW", find("awvalid"), find("awready"), {}};
        for (const char* name : {"awaddr", "awlen", "awsize", "awburst", "awid", "awcache", "awprot"})
            aw_.payload.push_back(find(name));
        w_ = {"W", find("wvalid"), find("wready"), {find("wdata"), find("wstrb"), find("wlast")}};
        rvalid_ = find("rvalid"), rready_ = find("rready"), rdata_ = find("rdata");
        rid_ = find("rid"), rresp_ = find("rresp"), rlast_ = find("rlast");
        bvalid_ = find("bvalid"), bready_ = find("bready");
        bid_ = find("bid"), bresp_ = find("bresp");
        bus_ = rdata_.bytes;
        idle();
    }

    uint64_t bus() const { return bus_; }
    int64_t waiting() const { return reads_.size() + writes_.size() + early_beats_.size(); }

    // Reset: nothing is offered, everything accepted is forgotten.
    void idle() {
        reads_.clear(), writes_.clear(), early_beats_.clear();
        filling_ = 0, active_ = -1, r_valid_ = b_valid_ = false;
        for (const Wire& wire : {ar_.ready, aw_.ready, w_.ready, rvalid_, bvalid_}) wire.set(0);
        ar_.held = aw_.held = w_.held = false;
    }

    void check_reset() {
        for (const Offer* offer : {&ar_, &aw_, &w_})
            if (offer->valid.get() & 1)
                memory_.report.say(memory_.cycle, "%s: valid during reset", offer->name);
    }

    // Sets the inputs of a cycle.
    void drive() {
        Memory::refill(read_credit_, options_.read_rate);
        Memory::refill(write_credit_, options_.write_rate);
        ar_.ready.set(!stall_[0].closed(memory_.random, options_) &&
                      int64_t(reads_.size()) < options_.max_reads);
        const bool patient = options_.await_data && !(w_.valid.get() & 1) && early_beats_.empty();
        aw_.ready.set(!stall_[1].closed(memory_.random, options_) && !patient &&
                      int64_t(writes_.size()) < options_.max_writes);
        // What is short of the shared rate goes to the one that waited.
        if (read_was_last_) {
            drive_w();
            drive_r();
        } else {
            drive_r();
            drive_w();
        }
        drive_b();
    }

    // Sees what passes in a cycle.
    void observe() {
        if (ar_.passes(memory_)) take_ar();
        if (r_valid_ && (rready_.get() & 1)) pass_r();
        if (aw_.passes(memory_)) take_aw();
        const bool passed = w_.passes(memory_);
        if (passed)
            take_w();
        else if (w_credit_)
            memory_.total_credit += 1024, write_credit_ += 1024;
        if (b_valid_ && (bready_.get() & 1)) {
            b_valid_ = false;
            memory_.activity = memory_.cycle;
        }
    }

   private:
    bool afford(int64_t& credit, int64_t rate) {
        if ((rate && credit < 1024) || (options_.total_rate && memory_.total_credit < 1024))
            return false;
        credit -= 1024, memory_.total_credit -= 1024;
        return true;
    }

    void drive_r() {
        if (r_valid_) return;
        const bool closed = stall_[2].closed(memory_.random, options_);
        const int next = closed ? -1 : next_read();
        if (next >= 0 && afford(read_credit_, options_.read_rate)) {
            read_was_last_ = true;
            offer_beat(reads_[next], next);
            return;
        }
        if (rvalid_.get()) {
            rvalid_.set(0);
            rdata_.junk();
        }
    }

    int next_read() {
        if (active_ >= 0 && !options_.interleave) return active_;
        if (options_.reorder) return pick(reads_, reads_.size());
        return reads_.empty() || reads_[0].ready_at > memory_.cycle ? -1 : 0;
    }

    // Any of those that are ready and the first of their ID, or -1.
    template <class List>
    int pick(const List& list, size_t count) {
        uint64_t seen[4] = {};
        int found = -1, choices = 0;
        for (size_t i = 0; i < count; i++) {
            uint64_t& word = seen[list[i].id >> 6 & 3];
            const uint64_t bit = uint64_t(1) << (list[i].id & 63);
            if (!(word & bit) && list[i].ready_at <= memory_.cycle &&
                memory_.random.below(++choices) == 0)
                found = i;
            word |= bit;
        }
        return found;
    }

    void offer_beat(Read& read, int index) {
        const uint64_t address = read.address + read.done * bus_;
        Response response = memory_.fault(address, bus_, false);
        if (read.fails && response == OKAY) response = SLVERR;
        if (response != OKAY)
            rdata_.junk();
        else if (read.early.empty())
            std::memcpy(rdata_.data, memory_.bytes + address, bus_);
        else
            std::memcpy(rdata_.data, read.early.data() + read.done * bus_, bus_);
        rid_.set(read.id), rresp_.set(response), rlast_.set(read.done + 1 == read.beats);
        rvalid_.set(1);
        r_valid_ = true;
        active_ = index;
    }

    void pass_r() {
        r_valid_ = false;
        memory_.activity = memory_.cycle;
        memory_.read_beats++;
        Read& read = reads_[active_];
        if (++read.done == read.beats) {
            reads_.erase(reads_.begin() + active_);
            active_ = -1;
        }
    }

    void drive_w() {
        const bool open = filling_ < writes_.size();
        const bool first = options_.data_first && early_beats_.size() < 16;
        w_credit_ = !stall_[3].closed(memory_.random, options_) && (open || first) &&
                    afford(write_credit_, options_.write_rate);
        w_.ready.set(w_credit_);
    }

    void drive_b() {
        if (b_valid_) return;
        int next = -1;
        if (!stall_[4].closed(memory_.random, options_)) {
            if (options_.reorder)
                next = pick(writes_, filling_);
            else if (filling_ && writes_[0].ready_at <= memory_.cycle)
                next = 0;
        }
        bvalid_.set(next >= 0);
        if (next < 0) return;
        Write& write = writes_[next];
        for (const Beat& beat : write.late) store(beat);
        bid_.set(write.id), bresp_.set(write.response);
        writes_.erase(writes_.begin() + next);
        filling_--;
        b_valid_ = true;
    }

    void check_address(const Offer& offer, uint64_t address, uint64_t beats) {
        const uint64_t size = offer.payload[2].get(), burst = offer.payload[3].get();
        Report& report = memory_.report;
        const unsigned long long at = address;
        if (bus_ >> size != 1) report.say(memory_.cycle, "%s: size is not the bus", offer.name);
        if (burst != 1) report.say(memory_.cycle, "%s: burst is not INCR", offer.name);
        if (address % bus_)
            report.say(memory_.cycle, "%s: %#llx is not aligned to the bus", offer.name, at);
        if (address >> 12 != (address + beats * bus_ - 1) >> 12)
            report.say(memory_.cycle, "%s: burst at %#llx crosses 4 KiB", offer.name, at);
    }

    void take_ar() {
        Read read{};
        read.address = ar_.payload[0].get(), read.beats = ar_.payload[1].get() + 1;
        read.id = ar_.payload[4].get();
        check_address(ar_, read.address, read.beats);
        read.address -= read.address % bus_;
        read.ready_at =
            memory_.cycle + options_.read_latency + memory_.random.below(options_.read_spread + 1);
        read.fails = ++memory_.reads == options_.fail_read;
        const bool early = options_.early_reads && (memory_.random.next() & 1);
        const uint64_t bytes = read.beats * bus_;
        if (early && read.address + bytes <= memory_.size)
            read.early.assign(memory_.bytes + read.address, memory_.bytes + read.address + bytes);
        reads_.push_back(std::move(read));
    }

    void take_aw() {
        Write write{};
        write.address = aw_.payload[0].get(), write.beats = aw_.payload[1].get() + 1;
        write.id = aw_.payload[4].get();
        check_address(aw_, write.address, write.beats);
        write.address -= write.address % bus_;
        write.response = ++memory_.writes == options_.fail_write ? SLVERR : OKAY;
        write.is_late = options_.late_writes && (memory_.random.next() & 1);
        writes_.push_back(std::move(write));
        while (!early_beats_.empty() && filling_ < writes_.size()) {
            place(std::move(early_beats_.front()));
            early_beats_.pop_front();
        }
    }

    void take_w() {
        read_was_last_ = false;
        memory_.write_beats++;
        Beat beat;
        beat.data.assign(w_.payload[0].data, w_.payload[0].data + bus_);
        beat.strobe.assign(w_.payload[1].data, w_.payload[1].data + (bus_ + 7) / 8);
        beat.last = w_.payload[2].get() & 1;
        if (filling_ < writes_.size())
            place(std::move(beat));
        else
            early_beats_.push_back(std::move(beat));
    }

    // A beat of the oldest write that lacks one.
    void place(Beat beat) {
        Write& write = writes_[filling_];
        beat.address = write.address + write.done * bus_;
        const bool last = ++write.done == write.beats;
        if (beat.last != last)
            memory_.report.say(memory_.cycle, "W: WLAST is %d in beat %d of %d", int(beat.last),
                               write.done, write.beats);
        write.response = std::max(write.response, memory_.fault(beat.address, bus_, true));
        if (write.response == OKAY) {
            if (write.is_late)
                write.late.push_back(std::move(beat));
            else
                store(beat);
        }
        if (!last) return;
        write.ready_at = memory_.cycle + options_.write_latency +
                         memory_.random.below(options_.write_spread + 1);
        filling_++;
    }

    void store(const Beat& beat) {
        uint8_t* to = memory_.bytes + beat.address;
        for (uint64_t i = 0; i < bus_; i += 8) {
            const uint8_t strobe = beat.strobe[i / 8];
            if (strobe == 0xFF && i + 8 <= bus_)
                std::memcpy(to + i, beat.data.data() + i, 8);
            else
                for (uint64_t j = i; j < std::min(i + 8, bus_); j++)
                    if (strobe >> (j - i) & 1) to[j] = beat.data[j];
        }
    }

    Memory& memory_;
    const Options& options_;
    Offer ar_, aw_, w_;
    Wire rvalid_, rready_, rdata_, rid_, rresp_, rlast_, bvalid_, bready_, bid_, bresp_;
    uint64_t bus_ = 0;
    std::deque<Read> reads_;      // in the order of their addresses
    std::deque<Write> writes_;    // the same
    size_t filling_ = 0;          // writes that have all their data
    std::deque<Beat> early_beats_;  // data whose address has not come
    int active_ = -1;             // the read whose beat is offered, or that goes on
    bool r_valid_ = false, b_valid_ = false, w_credit_ = false;
    bool read_was_last_ = false;
    int64_t read_credit_ = 0, write_credit_ = 0;
    Stall stall_[5];
};
