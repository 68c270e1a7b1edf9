import {
  board,
  counts,
  curve,
  dots,
  halves,
  perSecond,
  quantile,
  quantiles,
  rate,
  rates,
  seconds,
  shares,
  thirds,
} from './panels.js'
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
    rows: {
      Split: thirds(
        shares(
          'Calls by backend',
          'Calls that ended, as shares of all.',
          curve(`${ended('backend')} / ignoring (backend) group_left ${ended('')}`, '{{backend}}'),
        ),
        shares(
          'Calls that succeeded',
          'Contained or escalated, as a share of the calls of the backend.',
          curve(
            `${ended('backend, outcome', ',outcome=~"contained|escalated"')} / on (backend) group_left ${ended('backend')}`,
            '{{backend}} {{outcome}}',
          ),
        ),
        shares(
          'Calls that failed or were abandoned',
          'As a share of the calls of the backend.',
          curve(
            `${ended('backend, outcome', ',outcome=~"failed|abandoned"')} / on (backend) group_left ${ended('backend')}`,
            '{{backend}} {{outcome}}',
          ),
        ),
        seconds(
          'First sound',
          "From the end of the caller's speech to the first sound sent.",
          curve(quantile(0.5, 'mkondo_turn_response_seconds', 'backend', AGENT), '{{backend}} p50'),
          curve(quantile(0.95, 'mkondo_turn_response_seconds', 'backend', AGENT), '{{backend}} p95'),
        ),
        counts(
          'Barge-ins and claims without a tool, per turn',
          'Callers who interrupt, and what the agent said it did and no tool did.',
          curve(
            `${rate('mkondo_barge_ins_total', 'backend', `${AGENT},committed="yes"`)} / ${rate('mkondo_turn_response_seconds_count', 'backend', AGENT)}`,
            '{{backend}} barge-ins',
          ),
          curve(
            `${rate('mkondo_claims_total', 'backend', `${AGENT},verdict!="done"`)} / ${rate('mkondo_turn_response_seconds_count', 'backend', AGENT)}`,
            '{{backend}} claims',
          ),
        ),
        counts(
          'Cost of a call',
          'Known cost of the models, by backend.',
          curve(
            `${rate('mkondo_cost_total', 'backend, currency', AGENT)} / on (backend) group_left ${ended('backend')}`,
            '{{backend}} {{currency}}',
          ),
        ),
      ),
      Speed: thirds(
        seconds(
          'First sound by backend',
          "From the end of the caller's speech to the first sound sent.",
          quantiles(0.5, 'mkondo_turn_response_seconds', 'backend', '{{backend}} p50'),
          dots(quantiles(0.95, 'mkondo_turn_response_seconds', 'backend', '{{backend}} p95')),
        ),
        seconds(
          'Answer by backend',
          'Without fillers. The difference to the first sound is the time of tools and model.',
          quantiles(0.5, 'mkondo_turn_answer_seconds', 'backend', '{{backend}} p50'),
          dots(quantiles(0.95, 'mkondo_turn_answer_seconds', 'backend', '{{backend}} p95')),
        ),
        seconds(
          'Connection until ready',
          'The connection opens at the webhook: a caller does not notice less than a second.',
          quantiles(0.5, 'mkondo_backend_connect_seconds', 'backend', '{{backend}} p50'),
          dots(quantiles(0.95, 'mkondo_backend_connect_seconds', 'backend', '{{backend}} p95')),
        ),
      ),
      Errors: thirds(
        perSecond(
          'Errors by code',
          'auth and quota need an operator; rate_limit passes; the rest are faults of the service.',
          rates('mkondo_backend_errors_total', 'backend, code'),
        ),
        perSecond(
          'Failovers',
          'Calls that moved to another backend during the call.',
          rates('mkondo_backend_failovers_total', 'from, to', '{{from}} to {{to}}'),
        ),
        seconds(
          'Failover gap, p95',
          'From the loss of the old backend until the new one is ready.',
          dots(quantiles(0.95, 'mkondo_backend_failover_gap_seconds', 'to', 'to {{to}}')),
        ),
        shares(
          'Rate limits remaining',
          "How much of a key's limit is left, as last reported. Near 0 new calls use the next backend of the list.",
          curve('min by (backend, limit) (mkondo_backend_rate_limit_left_ratio)', '{{backend}} {{limit}}'),
        ),
        perSecond(
          'Answers that were stopped',
          'A model called tools in place of an answer: after they were withheld, too often for one turn, or in a minute.',
          curve(
            rate('mkondo_backend_irregular_total', 'backend, kind', ',kind=~"answersBounded.+"'),
            '{{backend}} {{kind}}',
          ),
        ),
        perSecond(
          'Look-ups of names',
          'failed and timed-out: no connection was made. stale: the resolver fails, and the last answer was used.',
          rates('mkondo_name_lookups_total', 'result'),
        ),
        counts(
          'Errors per turn',
          'Callers notice values above 0.05.',
          curve(
            `${rate('mkondo_backend_errors_total', 'backend')} / ${rate('mkondo_turn_response_seconds_count', 'backend')}`,
            '{{backend}}',
          ),
        ),
      ),
      Load: halves(
        perSecond(
          'Turns answered',
          'By agent and backend.',
          rates('mkondo_turn_answer_seconds_count', 'agent, backend'),
        ),
        seconds(
          'Tools, p95',
          'A slow tool delays the answer of any backend.',
          quantiles(0.95, 'mkondo_tool_seconds', 'tool, outcome'),
        ),
      ),
      Cost: halves(
        counts(
          'Cost by agent and backend',
          'Per day at the current rate.',
          curve(
            `86400 * ${rate('mkondo_cost_total', 'agent, backend, currency')}`,
            '{{agent}} {{backend}} {{currency}}',
          ),
        ),
        counts(
          'Cost by model',
          'The same by model: those of a cascade are its services.',
          curve(
            `86400 * ${rate('mkondo_cost_total', 'backend, model, currency')}`,
            '{{backend}} {{model}} {{currency}}',
          ),
        ),
        counts(
          'Cost per call',
          'Known cost, divided by all calls of the agent.',
          curve(
            `${rate('mkondo_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_total', 'agent')}`,
            '{{agent}} {{currency}}',
          ),
        ),
        counts(
          'Cost per resolved call',
          'Carrier, models and analysis, as far as known, of all calls, divided by those that were resolved by their analysis, or contained.',
          curve(
            `${rate('mkondo_call_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_analysed_total', 'agent', ',resolved="yes"')}`,
            '{{agent}} {{currency}} resolved',
          ),
          curve(
            `${rate('mkondo_call_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_total', 'agent', ',outcome="contained"')}`,
            '{{agent}} {{currency}} contained',
          ),
        ),
        counts(
          'Cost of calls',
          'Per day at the current rate, by what is paid for.',
          curve(
            `86400 * ${rate('mkondo_call_cost_total', 'agent, part, currency')}`,
            '{{agent}} {{part}} {{currency}}',
          ),
        ),
        perSecond(
          'Calls with a part of unknown cost',
          'The figures beside it are too low: add a price, a rate or an exchange rate to PRICES_FILE.',
          rates('mkondo_call_cost_unknown_total', 'agent, part'),
        ),
        counts(
          'Numbers by their budget of the day',
          'Of numbers with a budget: as always, on the cheaper backend, or taking messages alone.',
          curve('max by (step) (mkondo_budget_numbers)', '{{step}}'),
        ),
        perSecond(
          'Calls of unknown cost',
          'A model has no price: add it to PRICES_FILE.',
          rates('mkondo_cost_unknown_calls_total', 'agent, backend, model'),
        ),
        shares(
          'Input from the prompt cache',
          'Share of the tokens that models were given. Low: instructions or tools change between requests.',
          curve(
            `${rate('mkondo_model_input_tokens_total', 'agent, backend', ',cache="read"')} / ${rate('mkondo_model_input_tokens_total', 'agent, backend')}`,
            '{{agent}} {{backend}}',
          ),
        ),
      ),
    },
  })
}
