import type { ToolOffer } from '../../src/call/tools/gateway-tools.js'

/** A call that comes in to an agent with one language, who can have a human reached and call back. */
export const OFFER: ToolOffer = {
  languages: ['en'],
  handoverTo: {},
  escalation: { strategies: ['callback'] },
  sendsDigits: false,
  placed: false,
  messagesOnly: false,
  asksToGoOn: false,
  stage: null,
}
