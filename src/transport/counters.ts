import type { TransportStats } from './transport.ts'

/** Figures that all links of a transport add to. */
export type TransportCounters = { -readonly [K in keyof TransportStats]: TransportStats[K] }

/** All at zero. */
export function createCounters(): TransportCounters {
  return {
    bytesSent: 0,
    bytesReceived: 0,
    framesSent: 0,
    framesReceived: 0,
    messagesSent: 0,
    messagesReceived: 0,
    requestsInFlight: 0,
    malformed: 0
  }
}
