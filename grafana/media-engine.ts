import {
  board,
  bytes,
  bytesPerSecond,
  counts,
  dots,
  gauge,
  gauges,
  perSecond,
  quantiles,
  quarters,
  rates,
  seconds,
  shares,
  thirds,
  total,
} from './panels.js'
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'

/** Dashboard of the path of a frame: threads, ticks, rings, sockets. */
export function mediaEngine(): DashboardBuilder {
  return board({
    uid: 'mkondo-media',
    title: 'Mkondo: media engine',
    about: 'Frames, ticks, rings, sockets, threads and the process itself.',
    rows: {
      Frames: thirds(
        seconds(
          'Added by the gateway',
          "in: socket to backend. out: first sample of a backend's item to the socket.",
          quantiles(0.5, 'mkondo_frame_latency_seconds', 'direction', '{{direction}} p50'),
          dots(quantiles(0.99, 'mkondo_frame_latency_seconds', 'direction', '{{direction}} p99')),
        ),
        perSecond(
          'Frames on the sockets',
          'In and out; 50 per second for each call.',
          rates('mkondo_carrier_frames_total', 'direction'),
        ),
        bytesPerSecond(
          'Bytes on the sockets',
          '32 kB per second for each call at 16 kHz.',
          rates('mkondo_carrier_bytes_total', 'direction'),
        ),
        perSecond(
          'Lost audio',
          'Frames dropped at a limit, and playout underruns.',
          rates('mkondo_frames_dropped_total', 'where', 'dropped, {{where}}'),
          total('mkondo_playout_underruns_total', 'underruns'),
        ),
        perSecond(
          'Malformed frames',
          'Empty frames, frames of odd length, and texts over the size limit.',
          rates('mkondo_carrier_frames_bad_total', 'kind'),
        ),
        shares(
          'Rings',
          'Fill level of the fullest ring of any call. Near 1 the next packet is dropped.',
          gauges('max', 'mkondo_ring_fill_ratio', 'ring'),
        ),
      ),
      Ticks: quarters(
        seconds(
          'Lateness, p99',
          'main is the playout tick of the main thread.',
          quantiles(0.99, 'mkondo_tick_lateness_seconds', 'instance, worker'),
        ),
        seconds(
          'Tick duration, p99',
          'A tick is due every 5 ms.',
          quantiles(0.99, 'mkondo_tick_seconds', 'instance, worker'),
        ),
        shares(
          'Slack',
          'Share of idle time between ticks, which is the remaining capacity of a media worker.',
          gauges('min', 'mkondo_tick_slack_ratio', 'instance, worker'),
        ),
        shares(
          'Stops of the event loop',
          'Share of time in stops of over 5 ms, by reason. Each stop delays all calls of its thread.',
          rates('mkondo_loop_stopped_seconds_total', 'worker, reason'),
        ),
      ),
      Sockets: quarters(
        counts('Open', 'Audio sockets.', gauge('mkondo_sockets_open', '{{instance}}')),
        perSecond(
          'Closed, by cause',
          "lost, carrier-silent and backpressure are the carrier's network.",
          rates('mkondo_sockets_closed_total', 'why'),
        ),
        bytes(
          'Send buffer',
          "Unsent bytes of the fullest socket, without the kernel's buffer.",
          gauges('max', 'mkondo_socket_backpressure_bytes', 'instance'),
        ),
        perSecond(
          'Delayed sends',
          'Frames buffered because the carrier reads too slowly.',
          rates('mkondo_socket_sends_delayed_total', 'instance'),
        ),
      ),
      'Threads and process': quarters(
        counts(
          'Worker threads',
          'Live threads, and their calls or sessions.',
          gauges('sum', 'mkondo_workers', 'pool', '{{pool}} threads'),
          gauges('sum', 'mkondo_worker_tasks', 'pool', '{{pool}} tasks'),
        ),
        perSecond(
          'Worker deaths',
          'A dead worker is replaced, and its calls move to another worker. Deaths of media workers are shown by cause.',
          rates('mkondo_worker_deaths_total', 'pool'),
          rates('mkondo_media_worker_ends_total', 'cause', 'media: {{cause}}'),
          total('mkondo_calls_rehomed_total', 'calls moved'),
        ),
        perSecond(
          'Speech that was not recognised',
          'Utterances that the embedded recogniser missed, wholly or in part, because it had no free decoder. Raise SPEECH_WORKERS for more decoders.',
          rates('mkondo_speech_refused_total', 'reason'),
        ),
        seconds(
          'Event loop of the main thread',
          'Time between two samples of the event loop, which are due every 50 ms. Any excess is lag.',
          gauges('max', 'nodejs_eventloop_lag_p99_seconds', 'instance', '{{instance}} p99'),
          gauges('max', 'nodejs_eventloop_lag_mean_seconds', 'instance', '{{instance}} mean'),
        ),
        seconds(
          'Garbage collection',
          'Time per second, by kind. The main thread stops during this time.',
          rates('nodejs_gc_duration_seconds_sum', 'kind'),
        ),
        bytes(
          'Memory',
          "Memory of the whole process, and of the main thread's heap.",
          gauge('process_resident_memory_bytes', '{{instance}} resident'),
          gauge('nodejs_heap_size_used_bytes', '{{instance}} heap'),
        ),
        counts('CPU', 'Cores in use, all threads.', rates('process_cpu_seconds_total', 'instance')),
        counts(
          'File descriptors',
          'Open descriptors, and the limit. The public port closes before the limit is reached.',
          gauge('process_open_fds', '{{instance}} open'),
          gauge('process_max_fds', '{{instance}} limit'),
          gauge('mkondo_descriptors_low', '{{instance}} port closed'),
        ),
        seconds(
          'CPU throttling',
          'Throttled seconds per second. Above 0 callers hear stutter: raise the limit or remove it.',
          rates('mkondo_cgroup_cpu_throttled_seconds_total', 'instance'),
        ),
        perSecond(
          'Metrics responses',
          'Scrapes, calls left out of /metrics/calls, label sets over the limit, and lost spans.',
          rates('mkondo_scrapes_total', 'page, served', 'page {{page}} {{served}}'),
          gauges('sum', 'mkondo_call_series_dropped', '', 'calls left out'),
          total('mkondo_label_overflow_total', 'labels'),
          rates('mkondo_trace_spans_total', 'result', 'spans {{result}}'),
        ),
      ),
    },
  })
}
