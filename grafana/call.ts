import { HALF, NODE, THIRD, board, curves, number, quantile, words } from './panels.js'
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'

/** Escaped by Grafana: what stands in the box cannot end the label. */
const SID = 'call_sid=${call_sid:doublequote}'

/** One call by its SID: its series while it lives, the dots of its turns, and the ways to its timeline and logs. */
export function call(): DashboardBuilder {
  return board({
    uid: 'mkondo-call',
    title: 'Mkondo: call',
    about: 'One call. Write its SID into the box, or come from a dot or from the table of slow calls.',
    boxes: [
      { name: 'call_sid', label: 'Call SID', value: '', about: 'The carrier\'s id of the call' },
      { name: 'ops_url', label: 'Ops port', value: 'http://127.0.0.1:9464', about: 'Where your browser reaches the gateway\'s ops port' },
      { name: 'logs_url', label: 'Logs', value: 'http://127.0.0.1:3100/search?q=', about: 'Your log search, up to where the SID goes' },
    ],
    links: [
      { title: 'Timeline', url: '${ops_url:raw}/api/calls/${call_sid:percentencode}/timeline' },
      { title: 'Record', url: '${ops_url:raw}/api/calls/${call_sid:percentencode}' },
      { title: 'Logs', url: '${logs_url:raw}${call_sid:percentencode}' },
    ],
    rows: [
      { title: 'Call ${call_sid:text}', panels: [
        number({ title: 'First sound, last turn', about: 'Caller stopped to first sound sent.', unit: 's' },
          `mkondo_call_turn_response_last_seconds{${NODE},${SID}}`, { amber: 1.25, red: 2 }),
        number({ title: 'Added to a frame, p99', about: 'By the gateway, carrier\'s socket to backend.', unit: 's' },
          `mkondo_call_frame_latency_p99_seconds{${NODE},${SID}}`, { amber: 0.02, red: 0.05 }),
        number({ title: 'Barge-in stop, last', about: 'Caller spoke to agent silent.', unit: 's' },
          `mkondo_call_barge_in_stop_last_seconds{${NODE},${SID}}`, { amber: 0.3, red: 0.6 }),
      ] },
      { title: 'While it lives', panels: [
        curves({ title: 'First sound of its turns', about: 'While the call lives, and 60 s after.', unit: 's' }, THIRD, [
          { expr: `mkondo_call_turn_response_last_seconds{${NODE},${SID}}`, legend: '{{agent}} {{backend}}' },
        ]),
        curves({ title: 'Added to its frames, p99', about: 'Against all calls: is it this call, or the node?', unit: 's' }, THIRD, [
          { expr: `mkondo_call_frame_latency_p99_seconds{${NODE},${SID}}`, legend: 'this call' },
          { expr: quantile(0.99, 'mkondo_frame_latency_seconds', 'direction'), legend: 'all calls, {{direction}}' },
        ]),
        words('Where to go on', 'Timeline, record and logs of this call.', THIRD, [
          '`mkondo calls timeline ${call_sid:text}` draws the call in a terminal.',
          '',
          '- [Timeline](${ops_url:raw}/api/calls/${call_sid:percentencode}/timeline): every mark, with its time',
          '- [Record](${ops_url:raw}/api/calls/${call_sid:percentencode}): transcript, tools, and `stops`: why it stopped talking',
          '- [Logs](${logs_url:raw}${call_sid:percentencode}): lines with this `call_sid`',
        ].join('\n')),
      ] },
      { title: 'Its turns among all others', panels: [
        curves({ title: 'First sound, with exemplars', about: 'Each dot is a turn and names its call_sid.', unit: 's' }, HALF, [
          { expr: quantile(0.95, 'mkondo_turn_response_seconds', 'backend'), legend: 'p95 {{backend}}', exemplar: true },
        ]),
        curves({ title: 'Answer, with exemplars', about: 'Each dot is a turn and names its call_sid.', unit: 's' }, HALF, [
          { expr: quantile(0.95, 'mkondo_turn_answer_seconds', 'backend'), legend: 'p95 {{backend}}', exemplar: true },
        ]),
      ] },
    ],
  })
}
