/** A call that the API was asked for. */
export interface OutboundRequest {
  readonly from: string
  readonly to: string
  readonly voiceUrl: string
  readonly eventsUrl: string | null
  readonly clientRequestId: string | null
}

export interface PlacedOutbound {
  readonly callSid: string
}

/** Rings somebody; the call is in the workspace when it returns. */
export type PlaceOutbound = (request: OutboundRequest) => PlacedOutbound
