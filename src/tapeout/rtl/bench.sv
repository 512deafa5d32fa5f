// Stand-alone bench of $name: an AXI4 memory, a host on AXI4-Lite, and a program that copies
// $copy_bytes bytes through L1. Prints PASSED or FAILED. It needs nothing but a simulator of
// SystemVerilog, for instance, in the folder above:
//   $$ $command

module ${name}_bench;
  localparam int BUS_BYTES = $bus_bytes;
  localparam int MEMORY_BYTES = 1 << 16;
  localparam int SOURCE = $source, TARGET = $target, PROGRAM = 'h8000, COPY_BYTES = $copy_bytes;
  localparam int CORE = 'h1000;  // registers of core 0

  logic clk = 0, rst = 1;
  always #1 clk = ~clk;

  byte unsigned memory[MEMORY_BYTES];
  logic [255:0] program_words[$count];

  // ---- the chip ---------------------------------------------------------------------------

  logic [39:0] araddr, awaddr;
  logic [7:0] arlen, awlen;
  logic [$id_top:0] arid, awid, rid, bid;
  logic arvalid, arready, rvalid, rready, rlast, awvalid, awready, wvalid, wready, wlast;
  logic bvalid, bready;
  logic [BUS_BYTES*8-1:0] rdata, wdata;
  logic [BUS_BYTES-1:0] wstrb;
  logic [$address_top:0] host_awaddr, host_araddr;
  logic host_awvalid, host_awready, host_wvalid, host_wready, host_bvalid, host_bready;
  logic host_arvalid, host_arready, host_rvalid, host_rready;
  logic [31:0] host_wdata, host_rdata;
  logic [1:0] host_bresp, host_rresp;
  logic interrupt;

  $name chip (
    .clk(clk), .rst(rst), .interrupt_request(interrupt),
    .memory0_araddr(araddr), .memory0_arlen(arlen), .memory0_arid(arid),
    .memory0_arvalid(arvalid), .memory0_arready(arready),
    .memory0_rdata(rdata), .memory0_rresp(2'b00), .memory0_rlast(rlast), .memory0_rid(rid),
    .memory0_rvalid(rvalid), .memory0_rready(rready),
    .memory0_awaddr(awaddr), .memory0_awlen(awlen), .memory0_awid(awid),
    .memory0_awvalid(awvalid), .memory0_awready(awready),
    .memory0_wdata(wdata), .memory0_wstrb(wstrb), .memory0_wlast(wlast),
    .memory0_wvalid(wvalid), .memory0_wready(wready),
    .memory0_bresp(2'b00), .memory0_bid(bid), .memory0_bvalid(bvalid), .memory0_bready(bready),
    .control_awaddr(host_awaddr), .control_awprot(3'b0), .control_awvalid(host_awvalid),
    .control_awready(host_awready), .control_wdata(host_wdata), .control_wstrb(4'hf),
    .control_wvalid(host_wvalid), .control_wready(host_wready), .control_bresp(host_bresp),
    .control_bvalid(host_bvalid), .control_bready(host_bready), .control_araddr(host_araddr),
    .control_arprot(3'b0), .control_arvalid(host_arvalid), .control_arready(host_arready),
    .control_rdata(host_rdata), .control_rresp(host_rresp), .control_rvalid(host_rvalid),
    .control_rready(host_rready)$others
  );

  // ---- memory: one burst at a time each way, some cycles late -------------------------------

  int read_left = -1, read_at, read_wait, write_at;
  logic writing = 0;
  assign arready = read_left < 0;
  assign rvalid = read_left >= 0 && read_wait == 0;
  assign rlast = read_left == 0;
  assign awready = !writing && !bvalid;
  assign wready = writing;
  always_comb
    for (int i = 0; i < BUS_BYTES; i++) rdata[8*i+:8] = memory[(read_at+i)%MEMORY_BYTES];

  always_ff @(posedge clk) begin
    if (rst) begin
      read_left <= -1;
      writing <= 0;
      bvalid <= 0;
    end else begin
      if (arvalid && arready) begin
        read_left <= int'(arlen);
        read_at <= int'(araddr);
        read_wait <= 7;
        rid <= arid;
      end else if (read_wait > 0) read_wait <= read_wait - 1;
      else if (rvalid && rready) begin
        read_left <= read_left - 1;
        read_at <= read_at + BUS_BYTES;
      end
      if (awvalid && awready) begin
        writing <= 1;
        write_at <= int'(awaddr);
        bid <= awid;
      end
      if (wvalid && wready) begin
        for (int i = 0; i < BUS_BYTES; i++)
          if (wstrb[i]) memory[(write_at+i)%MEMORY_BYTES] <= wdata[8*i+:8];
        write_at <= write_at + BUS_BYTES;
        if (wlast) begin
          writing <= 0;
          bvalid <= 1;
        end
      end
      if (bvalid && bready) bvalid <= 0;
    end
  end

  // ---- host ---------------------------------------------------------------------------------

  task automatic write_register(input int address, input logic [31:0] value);
    logic address_done, data_done;
    address_done = 0;
    data_done = 0;
    @(negedge clk);
    host_awaddr = ($address_top + 1)'(address);
    host_wdata = value;
    host_awvalid = 1;
    host_wvalid = 1;
    host_bready = 1;
    while (!address_done || !data_done) begin
      @(posedge clk);
      if (host_awvalid && host_awready) address_done = 1;
      if (host_wvalid && host_wready) data_done = 1;
      @(negedge clk);
      host_awvalid = !address_done;
      host_wvalid = !data_done;
    end
    while (!host_bvalid) @(negedge clk);
    if (host_bresp != 0) $$display("register %h refuses a write", address);
    @(posedge clk);
    @(negedge clk);
    host_bready = 0;
  endtask

  task automatic read_register(input int address, output logic [31:0] value);
    @(negedge clk);
    host_araddr = ($address_top + 1)'(address);
    host_arvalid = 1;
    host_rready = 1;
    do @(posedge clk); while (!host_arready);
    @(negedge clk);
    host_arvalid = 0;
    while (!host_rvalid) @(negedge clk);
    value = host_rdata;
    @(posedge clk);
    @(negedge clk);
    host_rready = 0;
  endtask

  int errors = 0;
  logic [31:0] trap;

  initial begin
$program
    host_awvalid = 0;
    host_wvalid = 0;
    host_bready = 0;
    host_arvalid = 0;
    host_rready = 0;
    for (int i = 0; i < MEMORY_BYTES; i++) memory[i] = 8'(i * 7 + (i >> 8));
    for (int i = 0; i < $count; i++)
      for (int b = 0; b < 32; b++) memory[PROGRAM+32*i+b] = program_words[i][8*b+:8];
    repeat (8) @(negedge clk);
    rst = 0;
    write_register(CORE + $CONTEXT, 0);
    write_register(CORE + $PROGRAM_ADDRESS, PROGRAM);
    write_register(CORE + $PROGRAM_ADDRESS + 4, 0);
    write_register(CORE + $PROGRAM_COUNT, $count);
    write_register(CORE + $MEMORY_BYTES, MEMORY_BYTES);
    write_register(CORE + $MEMORY_BYTES + 4, 0);
    write_register(CORE + $PROGRAM_CHIP, 32'h$chip_low);
    write_register(CORE + $PROGRAM_CHIP + 4, 32'h$chip_high);
    write_register(CORE + $WATCHDOG_CYCLES, 10000);
    write_register(CORE + $INTERRUPT_ENABLE, 3);
    write_register(CORE + $DOORBELL, 0);
    for (int i = 0; i < 100000 && !interrupt; i++) @(negedge clk);
    read_register(CORE + $TRAP, trap);
    if (!interrupt) $$display("the program did not end");
    if (trap != 0) $$display("trap %0d", trap & 255);
    for (int i = 0; i < COPY_BYTES; i++) if (memory[TARGET+i] != memory[SOURCE+i]) errors++;
    if (interrupt && trap == 0 && errors == 0) $$display("PASSED: %0d bytes copied", COPY_BYTES);
    else $$display("FAILED: %0d bytes differ", errors);
    $$finish;
  end
endmodule
