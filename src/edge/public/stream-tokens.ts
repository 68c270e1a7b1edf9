import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import { assert } from '../../core/assert.js'
import type { CallSid } from '../../core/ids.js'
import type { Clock, WallClock } from '../../core/clock.js'
import { checkToken, mintToken } from '../../sautikit/token.js'
import type { TokenPurpose, TokenResult } from '../../sautikit/token.js'

/** Lifetime in s of the token in an audio URL (docs/PROTOCOL.md). */
const AUDIO_TOKEN_TTL_S = 60
/** Lifetime in s of the tokens in a call's URLs, except the audio socket's token. */
const CONTINUATION_TOKEN_TTL_S = 6 * 3600
/**
 * Maximum number of own tokens whose age is known by the monotonic clock. A call has five, so this is enough for the
 * tokens of 10,000 calls.
 */
const OWN_TOKENS_MAX = 50_000
/**
 * Maximum number of used audio tokens that are remembered. Each is valid for a minute, so this is enough for 800 calls
 * a second.
 */
const USED_TOKENS_MAX = 50_000

/**
 * Tokens in our URLs: creates and checks them, and remembers the audio tokens that have opened a socket. A token is valid
 * by the calendar clock, on which all nodes agree. Tokens of this process are also valid by its monotonic clock, so that
 * a jump of the calendar clock refuses no live call.
 */
export class StreamTokens {
  readonly #secrets: readonly string[]
  readonly #wallClock: WallClock
  readonly #clock: Clock
  /** Monotonic time in ms until which tokens of this process are valid, by nonce. */
  readonly #ownUntilMs = new LRUCache<string, number>(atMost(OWN_TOKENS_MAX))
  /** Nonces of audio tokens that opened a socket. */
  readonly #used = new LRUCache<string, true>(atMost(USED_TOKENS_MAX))

  /** @param options.tokenSecrets  the first secret signs; each of them may have signed a received token */
  constructor(options: {
    readonly tokenSecrets: readonly string[]
    readonly wallClock: WallClock
    readonly clock: Clock
  }) {
    this.#secrets = options.tokenSecrets
    this.#wallClock = options.wallClock
    this.#clock = options.clock
  }

  /**
   * Creates a token for one URL of a call; valid for a minute (audio) or for longer than any call.
   * @param epoch  for audio, the epoch of the call's owner: the socket must open at the node that owns the call in this
   * epoch
   */
  mint(callSid: CallSid, purpose: Exclude<TokenPurpose, 'continue'>, epoch = 0): string {
    assert(purpose === 'audio' || epoch === 0, 'only audio tokens have an epoch')
    const ttlS = purpose === 'audio' ? AUDIO_TOKEN_TTL_S : CONTINUATION_TOKEN_TTL_S
    const nonce = randomBytes(12).toString('base64url')
    this.#ownUntilMs.set(nonce, this.#clock() + ttlS * 1000)
    return mintToken(this.#secrets, { callSid, purpose, epoch, expiresAtS: this.#nowS + ttlS, nonce })
  }

  /**
   * Creates a token for the URL at which the outcome of one tool call may be posted.
   * @param id  id of the waiting tool call
   */
  mintContinue(callSid: CallSid, id: string, ttlS: number): string {
    return mintToken(this.#secrets, {
      callSid,
      purpose: 'continue',
      epoch: 0,
      expiresAtS: this.#nowS + ttlS,
      nonce: id,
    })
  }

  check(token: string | undefined, purpose: TokenPurpose): TokenResult {
    const checked = checkToken(this.#secrets, token, { purpose, nowS: this.#nowS })
    if (checked.result !== 'expired') return checked
    const withoutTime = checkToken(this.#secrets, token, { purpose, nowS: 0 })
    if (withoutTime.result !== 'ok') return withoutTime
    return this.#clock() <= (this.#ownUntilMs.get(withoutTime.nonce) ?? -Infinity) ? withoutTime : checked
  }

  get #nowS(): number {
    return Math.floor(this.#wallClock() / 1000)
  }

  isUsed(nonce: string): boolean {
    return this.#used.has(nonce)
  }

  use(nonce: string): void {
    this.#used.set(nonce, true)
  }
}
