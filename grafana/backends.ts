import { HALF, THIRD, board, curves, quantile, rate } from './panels.js'
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'

/** Matcher of the agent whose split is looked at. */
const AGENT = ',agent=~"$agent"'

/** Rate of ended calls of that agent over `by`. */
const ended = (by: string, more = ''): string => rate('mkondo_calls_total', by, AGENT + more)

/** The models: a split, latency, errors, failovers. */
export function backends(): DashboardBuilder {
  return board({
    uid: 'mkondo-backends',
    title: 'Mkondo: backends',
    about: 'Latency, errors and failovers by backend.',
    boxes: [{ name: 'agent', label: 'Agent of the split', value: '.*', about: 'A regular expression of names' }],
    rows: [
      {
        title: 'Split',
        panels: [
          curves(
            { title: 'Calls by backend', about: 'Calls that ended, as shares of all.', unit: 'percentunit' },
            THIRD,
            [{ expr: `${ended('backend')} / ignoring (backend) group_left ${ended('')}`, legend: '{{backend}}' }],
          ),
          curves(
            {
              title: 'Calls that succeeded',
              about: 'Contained or escalated, as a share of the calls of the backend.',
              unit: 'percentunit',
            },
            THIRD,
            [
              {
                expr: `${ended('backend, outcome', ',outcome=~"contained|escalated"')} / on (backend) group_left ${ended('backend')}`,
                legend: '{{backend}} {{outcome}}',
              },
            ],
          ),
          curves(
            {
              title: 'Calls that failed or were abandoned',
              about: 'As a share of the calls of the backend.',
              unit: 'percentunit',
            },
            THIRD,
            [
              {
                expr: `${ended('backend, outcome', ',outcome=~"failed|abandoned"')} / on (backend) group_left ${ended('backend')}`,
                legend: '{{backend}} {{outcome}}',
              },
            ],
          ),
          curves(
            { title: 'First sound', about: "From the end of the caller's speech to the first sound sent.", unit: 's' },
            THIRD,
            [
              { expr: quantile(0.5, 'mkondo_turn_response_seconds', 'backend', AGENT), legend: '{{backend}} p50' },
              { expr: quantile(0.95, 'mkondo_turn_response_seconds', 'backend', AGENT), legend: '{{backend}} p95' },
            ],
          ),
          curves(
            {
              title: 'Barge-ins and claims without a tool, per turn',
              about: 'Callers who interrupt, and what the agent said it did and no tool did.',
              unit: 'short',
            },
            THIRD,
            [
              {
                expr: `${rate('mkondo_barge_ins_total', 'backend', `${AGENT},committed="yes"`)} / ${rate('mkondo_turn_response_seconds_count', 'backend', AGENT)}`,
                legend: '{{backend}} barge-ins',
              },
              {
                expr: `${rate('mkondo_claims_total', 'backend', `${AGENT},verdict!="done"`)} / ${rate('mkondo_turn_response_seconds_count', 'backend', AGENT)}`,
                legend: '{{backend}} claims',
              },
            ],
          ),
          curves({ title: 'Cost of a call', about: 'Known cost of the models, by backend.', unit: 'short' }, THIRD, [
            {
              expr: `${rate('mkondo_cost_total', 'backend, currency', AGENT)} / on (backend) group_left ${ended('backend')}`,
              legend: '{{backend}} {{currency}}',
            },
          ]),
        ],
      },
      {
        title: 'Speed',
        panels: [
          curves(
            {
              title: 'First sound by backend',
              about: "From the end of the caller's speech to the first sound sent.",
              unit: 's',
            },
            THIRD,
            [
              { expr: quantile(0.5, 'mkondo_turn_response_seconds', 'backend'), legend: '{{backend}} p50' },
              {
                expr: quantile(0.95, 'mkondo_turn_response_seconds', 'backend'),
                legend: '{{backend}} p95',
                exemplar: true,
              },
            ],
          ),
          curves(
            {
              title: 'Answer by backend',
              about: 'Without fillers. The difference to the first sound is the time of tools and model.',
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
              about: 'The connection opens at the webhook: a caller does not notice less than a second.',
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
          curves(
            { title: 'Failovers', about: 'Calls that moved to another backend during the call.', unit: 'cps' },
            THIRD,
            [{ expr: rate('mkondo_backend_failovers_total', 'from, to'), legend: '{{from}} to {{to}}' }],
          ),
          curves(
            {
              title: 'Failover gap, p95',
              about: 'From the loss of the old backend until the new one is ready.',
              unit: 's',
            },
            THIRD,
            [
              {
                expr: quantile(0.95, 'mkondo_backend_failover_gap_seconds', 'to'),
                legend: 'to {{to}}',
                exemplar: true,
              },
            ],
          ),
          curves(
            {
              title: 'Rate limits remaining',
              about:
                "How much of a key's limit is left, as last reported. Near 0 new calls use the next backend of the list.",
              unit: 'percentunit',
            },
            THIRD,
            [
              {
                expr: 'min by (backend, limit) (mkondo_backend_rate_limit_left_ratio)',
                legend: '{{backend}} {{limit}}',
              },
            ],
          ),
          curves(
            {
              title: 'Look-ups of names',
              about:
                'failed and timed-out: no connection was made. stale: the resolver fails, and the last answer was used.',
              unit: 'cps',
            },
            THIRD,
            [{ expr: rate('mkondo_name_lookups_total', 'result'), legend: '{{result}}' }],
          ),
          curves({ title: 'Errors per turn', about: 'Callers notice values above 0.05.', unit: 'short' }, THIRD, [
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
          curves({ title: 'Cost by agent and backend', about: 'Per day at the current rate.', unit: 'short' }, HALF, [
            {
              expr: `86400 * ${rate('mkondo_cost_total', 'agent, backend, currency')}`,
              legend: '{{agent}} {{backend}} {{currency}}',
            },
          ]),
          curves(
            { title: 'Cost by model', about: 'The same by model: those of a cascade are its stages.', unit: 'short' },
            HALF,
            [
              {
                expr: `86400 * ${rate('mkondo_cost_total', 'backend, model, currency')}`,
                legend: '{{backend}} {{model}} {{currency}}',
              },
            ],
          ),
          curves(
            { title: 'Cost per call', about: 'Known cost, divided by all calls of the agent.', unit: 'short' },
            HALF,
            [
              {
                expr: `${rate('mkondo_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_total', 'agent')}`,
                legend: '{{agent}} {{currency}}',
              },
            ],
          ),
          curves(
            {
              title: 'Cost per resolved call',
              about:
                'Carrier, models and analysis, as far as known, of all calls, divided by those that were resolved by their analysis, or contained.',
              unit: 'short',
            },
            HALF,
            [
              {
                expr: `${rate('mkondo_call_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_analysed_total', 'agent', ',resolved="yes"')}`,
                legend: '{{agent}} {{currency}} resolved',
              },
              {
                expr: `${rate('mkondo_call_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_total', 'agent', ',outcome="contained"')}`,
                legend: '{{agent}} {{currency}} contained',
              },
            ],
          ),
          curves(
            { title: 'Cost of calls', about: 'Per day at the current rate, by what is paid for.', unit: 'short' },
            HALF,
            [
              {
                expr: `86400 * ${rate('mkondo_call_cost_total', 'agent, part, currency')}`,
                legend: '{{agent}} {{part}} {{currency}}',
              },
            ],
          ),
          curves(
            {
              title: 'Calls with a part of unknown cost',
              about: 'The figures beside it are too low: add a price, a rate or an exchange rate to PRICES_FILE.',
              unit: 'cps',
            },
            HALF,
            [{ expr: rate('mkondo_call_cost_unknown_total', 'agent, part'), legend: '{{agent}} {{part}}' }],
          ),
          curves(
            {
              title: 'Numbers by their budget of the day',
              about: 'Of numbers with a budget: as always, on the cheaper backend, or taking messages alone.',
              unit: 'short',
            },
            HALF,
            [{ expr: 'max by (step) (mkondo_budget_numbers)', legend: '{{step}}' }],
          ),
          curves(
            {
              title: 'Calls of unknown cost',
              about: 'A model has no price: add it to PRICES_FILE.',
              unit: 'cps',
            },
            HALF,
            [
              {
                expr: rate('mkondo_cost_unknown_calls_total', 'agent, backend, model'),
                legend: '{{agent}} {{backend}} {{model}}',
              },
            ],
          ),
          curves(
            {
              title: 'Input from the prompt cache',
              about: 'Share of the tokens that models were given. Low: instructions or tools change between requests.',
              unit: 'percentunit',
            },
            HALF,
            [
              {
                expr: `${rate('mkondo_model_input_tokens_total', 'agent, backend', ',cache="read"')} / ${rate('mkondo_model_input_tokens_total', 'agent, backend')}`,
                legend: '{{agent}} {{backend}}',
              },
            ],
          ),
        ],
      },
    ],
  })
}
