/**
 * Parts for a custom backend of a service behind a WebSocket: `import { VendorConnection } from 'mkondo/transport'`. Each
 * part can be used alone. docs/OWN-BACKEND.md puts them together, and examples/own-backend is a whole backend made of
 * them.
 *
 * - **Connection**: `VendorConnection` keeps the deadlines and emits `ready` and one `closed`. `vendorFault` and
 *   `httpFault` make faults. `vendorText` makes a service's words safe to show.
 * - **Input buffer**: `CallerUplink` collects the caller's frames into messages. It keeps the audio before the start of
 *   speech (`preRollMs`), and messages that cannot be sent yet. `messageLength` gives the length of a message.
 * - **Audio codec**: `Base64Audio` decodes audio in base64 from JSON. `MessageReader` reads such messages without parsing
 *   the audio.
 * - **Tools and texts**: `objectArguments`, `parseArguments` and `replyText` check a model's texts and write the
 * gateway's replies. `KeyEntry` joins pressed keys to one entry. `openingText`, `keysText`, `saidText` and `recapText`
 *   are the gateway's own words for a model.
 */
export { VendorConnection } from './transport/vendor-connection.js'
export type { VendorConnectionOptions } from './transport/vendor-connection.js'
export { httpFault, vendorFault, vendorText } from './transport/vendor-fault.js'
export type { HttpRefusal, VendorFault } from './transport/vendor-fault.js'
export { CallerUplink, messageLength, silencePause, turnEndAfter } from './transport/caller-uplink.js'
export type { CallerUplinkOptions, TurnEnd, UplinkPause } from './transport/caller-uplink.js'
export { preRollMs } from './pre-roll.js'
export { Base64Audio } from './transport/base64-audio.js'
export { MessageReader } from './transport/message-reader.js'
export type { MessageCounts, MessageFormat } from './transport/message-reader.js'
export { KeyEntry, keysTranscript } from './key-entry.js'
export { objectArguments, parseArguments, replyText } from './tool-text.js'
export { keysText, openingText, recapText, saidText } from './prompts.js'
