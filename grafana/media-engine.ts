import { NODE, QUARTER, THIRD, board, curves, quantile, rate } from './panels.js'
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'

/** Threads, ticks, rings, sockets: the path of a frame. */
export function mediaEngine(): DashboardBuilder {
  return board({
    uid: 'mkondo-media',
    title: 'Mkondo: media engine',
    about: 'Frames, ticks, rings, sockets, threads and the process itself.',
    rows: [
      {
        title: 'Frames',
        panels: [
          curves(
            {
              title: 'Added by the gateway',
              about: "in: socket to backend. out: first sample of a backend's item to the socket.",
              unit: 's',
            },
            THIRD,
            [
              { expr: quantile(0.5, 'mkondo_frame_latency_seconds', 'direction'), legend: '{{direction}} p50' },
              {
                expr: quantile(0.99, 'mkondo_frame_latency_seconds', 'direction'),
                legend: '{{direction}} p99',
                exemplar: true,
              },
            ],
          ),
          curves(
            { title: 'Frames on the sockets', about: 'In and out; 50 per second for each call.', unit: 'cps' },
            THIRD,
            [{ expr: rate('mkondo_carrier_frames_total', 'direction'), legend: '{{direction}}' }],
          ),
          curves(
            { title: 'Bytes on the sockets', about: '32 kB per second for each call at 16 kHz.', unit: 'Bps' },
            THIRD,
            [{ expr: rate('mkondo_carrier_bytes_total', 'direction'), legend: '{{direction}}' }],
          ),
          curves(
            { title: 'Lost audio', about: 'Frames dropped at a limit, and playout underruns.', unit: 'cps' },
            THIRD,
            [
              { expr: rate('mkondo_frames_dropped_total', 'where'), legend: 'dropped, {{where}}' },
              { expr: `sum(rate(mkondo_playout_underruns_total{${NODE}}[$__rate_interval]))`, legend: 'underruns' },
            ],
          ),
          curves(
            { title: 'Malformed frames', about: 'Empty frames, odd lengths, text beyond its bound.', unit: 'cps' },
            THIRD,
            [{ expr: rate('mkondo_carrier_frames_bad_total', 'kind'), legend: '{{kind}}' }],
          ),
          curves(
            {
              title: 'Rings',
              about: 'The fullest of any call; near 1 the next packet is dropped.',
              unit: 'percentunit',
            },
            THIRD,
            [{ expr: `max by (ring) (mkondo_ring_fill_ratio{${NODE}})`, legend: '{{ring}}' }],
          ),
        ],
      },
      {
        title: 'Ticks',
        panels: [
          curves({ title: 'Lateness, p99', about: 'main is the playout tick of the main thread.', unit: 's' }, THIRD, [
            {
              expr: quantile(0.99, 'mkondo_tick_lateness_seconds', 'instance, worker'),
              legend: '{{instance}} {{worker}}',
            },
          ]),
          curves({ title: 'Tick duration, p99', about: 'A tick is due every 5 ms.', unit: 's' }, THIRD, [
            { expr: quantile(0.99, 'mkondo_tick_seconds', 'instance, worker'), legend: '{{instance}} {{worker}}' },
          ]),
          curves(
            {
              title: 'Slack',
              about: 'Share of time that the ticks leave free: remaining capacity of a media worker.',
              unit: 'percentunit',
            },
            THIRD,
            [
              {
                expr: `min by (instance, worker) (mkondo_tick_slack_ratio{${NODE}})`,
                legend: '{{instance}} {{worker}}',
              },
            ],
          ),
        ],
      },
      {
        title: 'Sockets',
        panels: [
          curves({ title: 'Open', about: 'Audio sockets.', unit: 'short' }, QUARTER, [
            { expr: `mkondo_sockets_open{${NODE}}`, legend: '{{instance}}' },
          ]),
          curves(
            {
              title: 'Closed, by cause',
              about: "lost, carrier-silent and backpressure are the carrier's network.",
              unit: 'cps',
            },
            QUARTER,
            [{ expr: rate('mkondo_sockets_closed_total', 'why'), legend: '{{why}}' }],
          ),
          curves(
            { title: 'Send buffer', about: "Bytes in the fullest socket, beyond the kernel's buffer.", unit: 'bytes' },
            QUARTER,
            [{ expr: `max by (instance) (mkondo_socket_backpressure_bytes{${NODE}})`, legend: '{{instance}}' }],
          ),
          curves(
            { title: 'Delayed sends', about: 'Frames buffered because the carrier reads too slowly.', unit: 'cps' },
            QUARTER,
            [{ expr: rate('mkondo_socket_sends_delayed_total', 'instance'), legend: '{{instance}}' }],
          ),
        ],
      },
      {
        title: 'Threads and process',
        panels: [
          curves(
            { title: 'Worker threads', about: 'Live threads, and calls or sessions on them.', unit: 'short' },
            QUARTER,
            [
              { expr: `sum by (pool) (mkondo_workers{${NODE}})`, legend: '{{pool}} threads' },
              { expr: `sum by (pool) (mkondo_worker_tasks{${NODE}})`, legend: '{{pool}} tasks' },
            ],
          ),
          curves(
            {
              title: 'Worker deaths',
              about: 'Each is replaced, and its calls move to another worker. Media workers by cause.',
              unit: 'cps',
            },
            QUARTER,
            [
              { expr: rate('mkondo_worker_deaths_total', 'pool'), legend: '{{pool}}' },
              { expr: rate('mkondo_media_worker_ends_total', 'cause'), legend: 'media: {{cause}}' },
              { expr: `sum(rate(mkondo_calls_rehomed_total{${NODE}}[$__rate_interval]))`, legend: 'calls moved' },
            ],
          ),
          curves(
            {
              title: 'Event loop of the main thread',
              about: 'Time between two samples of the event loop, 50 ms apart: what is above that is lag.',
              unit: 's',
            },
            QUARTER,
            [
              { expr: `max by (instance) (nodejs_eventloop_lag_p99_seconds{${NODE}})`, legend: '{{instance}} p99' },
              { expr: `max by (instance) (nodejs_eventloop_lag_mean_seconds{${NODE}})`, legend: '{{instance}} mean' },
            ],
          ),
          curves(
            {
              title: 'Garbage collection',
              about: 'Time per second, by kind; the main thread pauses meanwhile.',
              unit: 's',
            },
            QUARTER,
            [{ expr: rate('nodejs_gc_duration_seconds_sum', 'kind'), legend: '{{kind}}' }],
          ),
          curves(
            { title: 'Memory', about: "Of the whole process, and of the main thread's heap.", unit: 'bytes' },
            QUARTER,
            [
              { expr: `process_resident_memory_bytes{${NODE}}`, legend: '{{instance}} resident' },
              { expr: `nodejs_heap_size_used_bytes{${NODE}}`, legend: '{{instance}} heap' },
            ],
          ),
          curves({ title: 'CPU', about: 'Cores in use, all threads.', unit: 'short' }, QUARTER, [
            { expr: rate('process_cpu_seconds_total', 'instance'), legend: '{{instance}}' },
          ]),
          curves(
            {
              title: 'File descriptors',
              about: 'Open, and the limit. The public port closes before they run out.',
              unit: 'short',
            },
            QUARTER,
            [
              { expr: `process_open_fds{${NODE}}`, legend: '{{instance}} open' },
              { expr: `process_max_fds{${NODE}}`, legend: '{{instance}} limit' },
              { expr: `mkondo_descriptors_low{${NODE}}`, legend: '{{instance}} port closed' },
            ],
          ),
          curves(
            {
              title: 'CPU throttling',
              about: 'Throttled seconds per second. Above 0 callers hear stutter: raise the limit or remove it.',
              unit: 's',
            },
            QUARTER,
            [{ expr: rate('mkondo_cgroup_cpu_throttled_seconds_total', 'instance'), legend: '{{instance}}' }],
          ),
          curves(
            {
              title: 'Metrics responses',
              about: 'Scrapes, calls left out of /metrics/calls, labels beyond the cap, spans lost.',
              unit: 'cps',
            },
            QUARTER,
            [
              { expr: rate('mkondo_scrapes_total', 'page, served'), legend: 'page {{page}} {{served}}' },
              { expr: `sum(mkondo_call_series_dropped{${NODE}})`, legend: 'calls left out' },
              { expr: `sum(rate(mkondo_label_overflow_total{${NODE}}[$__rate_interval]))`, legend: 'labels' },
              { expr: rate('mkondo_trace_spans_total', 'result'), legend: 'spans {{result}}' },
            ],
          ),
        ],
      },
    ],
  })
}
