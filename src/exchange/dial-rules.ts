import { GatewayError } from '../core/errors.js'

/** Rule for numbers that begin with `prefix`: they may be rung, at `endpoint`. */
export interface DialRule {
  readonly prefix: string
  /** An endpoint of Asterisk, such as `PJSIP/200`; `{number}` in it is replaced by the number. */
  readonly endpoint: string
}

/** A number that is safe in an endpoint: it cannot name a second endpoint or an option. */
const NUMBER = /^\+?\d{2,15}$/
const RULE = /^(\+?\d{1,15})=([A-Za-z]+\/[A-Za-z0-9_.@:{}+-]{1,100})$/

/**
 * Reads `+2547=PJSIP/{number}@trunk`.
 * @throws GatewayError CONFIG_INVALID
 */
export function parseDialRule(text: string): DialRule {
  const [, prefix, endpoint] = RULE.exec(text) ?? []
  if (prefix === undefined || endpoint === undefined || /[{}]/.test(endpoint.replace('{number}', '')))
    throw new GatewayError(
      'CONFIG_INVALID',
      'a dial rule is not PREFIX=ENDPOINT; allowed: such as +2547=PJSIP/{number}@trunk or 200=PJSIP/200',
    )
  return { prefix, endpoint }
}

/** @returns the endpoint of a number, by the longest prefix; null if no rule allows the number */
export function endpointOf(number: string, rules: readonly DialRule[]): string | null {
  if (!NUMBER.test(number)) return null
  const [rule] = rules
    .filter(({ prefix }) => number.startsWith(prefix))
    .sort((a, b) => b.prefix.length - a.prefix.length)
  return rule === undefined ? null : rule.endpoint.replace('{number}', number)
}

/**
 * True for an endpoint that is reached through another endpoint, such as `PJSIP/{number}@trunk`; false for a phone of
 * this Asterisk.
 */
export function isTrunk(endpoint: string): boolean {
  return endpoint.includes('@')
}
