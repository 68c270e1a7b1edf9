/**
 * Words of one language by which the gateway judges a turn. Callers mix languages, so the tables of all of them count in
 * every call. Case and marks do not count.
 */
export interface TurnTable {
  /** Who ends with one of these goes on. Words that also stand inside numbers too. */
  readonly joins: readonly string[]
  /** Said while thinking. */
  readonly hesitations: readonly string[]
  /** Who ends with one of these has not said yet what it is about. */
  readonly stems: readonly string[]
  readonly yes: readonly string[]
  readonly no: readonly string[]
  /** What may stand beside a yes or a no. */
  readonly besideYesNo: readonly string[]
  /** A sentence that ends with one of these is a question. */
  readonly questionEnds: readonly string[]
  /** A question with one of these asks for more than yes or no. */
  readonly questionWords: readonly string[]
  /** A sentence with one of these asks for something, also without a question mark. */
  readonly requests: readonly string[]
  /** What a question for a number names; with how many digits it has, where everybody knows. */
  readonly numbersAsked: readonly { readonly phrase: string; readonly digits?: readonly number[] }[]
  /** Said by who listens. */
  readonly listening: readonly string[]
  /** Asks for a moment: the agent says nothing until the caller goes on. */
  readonly wait: readonly string[]
  /** Over the agent: it stops, and says nothing either. */
  readonly stop: readonly string[]
  /** What may stand beside these two. */
  readonly besideWait: readonly string[]
  /** Asks for what was said to be said again; `what?`: only where the recogniser wrote a question mark. */
  readonly again: readonly string[]
  /** Greetings and thanks: nobody looks anything up to answer them. */
  readonly smallTalk: readonly string[]
  /** How an agent says itself that the answer takes a moment. */
  readonly oneMoment: readonly string[]
}
