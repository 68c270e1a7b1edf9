import { HALF, THIRD, board, curves, quantile, rate } from './panels.js'
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'

/** The models: latency, errors, failovers. */
export function backends(): DashboardBuilder {
  return board({
    uid: 'mkondo-backends',
    title: 'Mkondo: backends',
    about: 'Latency, errors and failovers by backend.',
    rows: [
      {
        title: 'Speed',
        panels: [
          curves({ title: 'First sound by backend', about: 'Caller stopped to first sound sent.', unit: 's' }, THIRD, [
            { expr: quantile(0.5, 'mkondo_turn_response_seconds', 'backend'), legend: '{{backend}} p50' },
            {
              expr: quantile(0.95, 'mkondo_turn_response_seconds', 'backend'),
              legend: '{{backend}} p95',
              exemplar: true,
            },
          ]),
          curves(
            {
              title: 'Answer by backend',
              about: 'Without fillers. The difference to the first sound is time of tools and model.',
              unit: 's',
            },
            THIRD,
            [
              { expr: quantile(0.5, 'mkondo_turn_answer_seconds', 'backend'), legend: '{{backend}} p50' },
              {
                expr: quantile(0.95, 'mkondo_turn_answer_seconds', 'backend'),
                legend: '{{backend}} p95',
                exemplar: true,
              },
            ],
          ),
          curves(
            {
              title: 'Connection until ready',
              about: 'Opened at the webhook: below a second no caller waits for it.',
              unit: 's',
            },
            THIRD,
            [
              { expr: quantile(0.5, 'mkondo_backend_connect_seconds', 'backend'), legend: '{{backend}} p50' },
              {
                expr: quantile(0.95, 'mkondo_backend_connect_seconds', 'backend'),
                legend: '{{backend}} p95',
                exemplar: true,
              },
            ],
          ),
        ],
      },
      {
        title: 'Errors',
        panels: [
          curves(
            {
              title: 'Errors by code',
              about: 'auth and quota need an operator; rate_limit passes; the rest are faults of the service.',
              unit: 'cps',
            },
            THIRD,
            [{ expr: rate('mkondo_backend_errors_total', 'backend, code'), legend: '{{backend}} {{code}}' }],
          ),
          curves({ title: 'Failovers', about: 'Calls moved to another backend in mid-call.', unit: 'cps' }, THIRD, [
            { expr: rate('mkondo_backend_failovers_total', 'from, to'), legend: '{{from}} to {{to}}' },
          ]),
          curves({ title: 'Failover gap, p95', about: 'Old backend lost to new backend ready.', unit: 's' }, THIRD, [
            { expr: quantile(0.95, 'mkondo_backend_failover_gap_seconds', 'to'), legend: 'to {{to}}', exemplar: true },
          ]),
          curves({ title: 'Errors per turn', about: 'Above 0.05 callers notice.', unit: 'short' }, THIRD, [
            {
              expr: `${rate('mkondo_backend_errors_total', 'backend')} / ${rate('mkondo_turn_response_seconds_count', 'backend')}`,
              legend: '{{backend}}',
            },
          ]),
        ],
      },
      {
        title: 'Load',
        panels: [
          curves({ title: 'Turns answered', about: 'By agent and backend.', unit: 'cps' }, HALF, [
            { expr: rate('mkondo_turn_answer_seconds_count', 'agent, backend'), legend: '{{agent}} {{backend}}' },
          ]),
          curves({ title: 'Tools, p95', about: 'A slow tool delays the answer of any backend.', unit: 's' }, HALF, [
            { expr: quantile(0.95, 'mkondo_tool_seconds', 'tool, outcome'), legend: '{{tool}} {{outcome}}' },
          ]),
        ],
      },
      {
        title: 'Cost',
        panels: [
          curves({ title: 'Cost by agent and backend', about: 'A day at the present rate.', unit: 'short' }, THIRD, [
            {
              expr: `86400 * ${rate('mkondo_cost_total', 'agent, backend, currency')}`,
              legend: '{{agent}} {{backend}} {{currency}}',
            },
          ]),
          curves({ title: 'Cost per call', about: 'What is known, by all calls of the agent.', unit: 'short' }, THIRD, [
            {
              expr: `${rate('mkondo_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_total', 'agent')}`,
              legend: '{{agent}} {{currency}}',
            },
          ]),
          curves(
            {
              title: 'Calls of unknown cost',
              about: 'A model has no price: add it to PRICES_FILE.',
              unit: 'cps',
            },
            THIRD,
            [{ expr: rate('mkondo_cost_unknown_calls_total', 'agent, backend'), legend: '{{agent}} {{backend}}' }],
          ),
        ],
      },
    ],
  })
}
