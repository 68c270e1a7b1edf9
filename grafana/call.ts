import { NODE, board, curve, dots, halves, number, quantiles, seconds, thirds, words } from './panels.js'
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'

/** Matcher of the call. Grafana escapes the value, so that a quote in the value cannot end the label. */
const SID = 'call_sid=${call_sid:doublequote}'

/** Dashboard of one call, by its SID: live series, exemplars of turns, links to the timeline and logs. */
export function call(): DashboardBuilder {
  return board({
    uid: 'mkondo-call',
    title: 'Mkondo: call',
    about: 'One call. Enter its SID, or follow a link from an exemplar or the table of slow calls.',
    boxes: [
      { name: 'call_sid', label: 'Call SID', value: '', about: "The carrier's id of the call" },
      {
        name: 'ops_url',
        label: 'Ops port',
        value: 'http://127.0.0.1:9464',
        about: "Where your browser reaches the gateway's ops port",
      },
      {
        name: 'logs_url',
        label: 'Logs',
        value: 'http://127.0.0.1:3100/search?q=',
        about: 'Your log search, up to where the SID goes',
      },
    ],
    links: [
      { title: 'Timeline', url: '${ops_url:raw}/api/calls/${call_sid:percentencode}/timeline' },
      { title: 'Record', url: '${ops_url:raw}/api/calls/${call_sid:percentencode}' },
      { title: 'Logs', url: '${logs_url:raw}${call_sid:percentencode}' },
    ],
    rows: {
      'Call ${call_sid:text}': [
        number(
          'First sound, last turn',
          'From the end of caller speech to the first sound sent.',
          's',
          `mkondo_call_turn_response_last_seconds{${NODE},${SID}}`,
          { amber: 1.25, red: 2 },
        ),
        number(
          'Added to a frame, p99',
          "Time that the gateway adds, from the carrier's socket to the backend.",
          's',
          `mkondo_call_frame_latency_p99_seconds{${NODE},${SID}}`,
          { amber: 0.02, red: 0.05 },
        ),
        number(
          'Barge-in stop, last',
          'From the first speech of the caller to the silence of the agent.',
          's',
          `mkondo_call_barge_in_stop_last_seconds{${NODE},${SID}}`,
          { amber: 0.3, red: 0.6 },
        ),
      ],
      'Live call': thirds(
        seconds(
          'First sound',
          'Shown while the call is live, and for 60 s after it.',
          curve(`mkondo_call_turn_response_last_seconds{${NODE},${SID}}`, '{{agent}} {{backend}}'),
        ),
        seconds(
          'Added to frames, p99',
          'This call and all calls of the node: the comparison shows if the call or the node is slow.',
          curve(`mkondo_call_frame_latency_p99_seconds{${NODE},${SID}}`, 'this call'),
          quantiles(0.99, 'mkondo_frame_latency_seconds', 'direction', 'all calls, {{direction}}'),
        ),
        words(
          'Links',
          'Timeline, record and logs of this call.',
          [
            '`mkondo calls timeline ${call_sid:text}` draws the call in a terminal.',
            '',
            '- [Timeline](${ops_url:raw}/api/calls/${call_sid:percentencode}/timeline): every step, with its time',
            '- [Record](${ops_url:raw}/api/calls/${call_sid:percentencode}): transcript, tools, and `stops`: why the agent stopped talking',
            '- [Logs](${logs_url:raw}${call_sid:percentencode}): lines with this `call_sid`',
          ].join('\n'),
        ),
      ),
      'Turns of all calls': halves(
        seconds(
          'First sound, with exemplars',
          'Each dot is a turn and names its call_sid.',
          dots(quantiles(0.95, 'mkondo_turn_response_seconds', 'backend', 'p95 {{backend}}')),
        ),
        seconds(
          'Answer, with exemplars',
          'Each dot is a turn and names its call_sid.',
          dots(quantiles(0.95, 'mkondo_turn_answer_seconds', 'backend', 'p95 {{backend}}')),
        ),
      ),
    },
  })
}
