import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'

/** What a process has used since the reading before. */
export interface Reading {
  readonly cpuSeconds: number
  /**
   * Bytes written to TCP sockets: with encryption, framing and everything else that libp2p says, without the headers of TCP.
   * What one process writes another reads, so that the sum over all processes is what was on the wire.
   */
  readonly wireBytes: number
  readonly gcMs: number
  /** How late the event loop ran, 99th percentile and at worst, ms. */
  readonly lateP99Ms: number
  readonly lateMaxMs: number
  readonly rssBytes: number
}

/** The monitor of the event loop looks so often, ms, and counts this as delay. */
const RESOLUTION_MS = 5

/** What this process uses; to be made before there is any socket. */
export class Meter {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  readonly #open = new Set<Socket>()
  #closedBytes = 0
  #gcMs = 0
  #cpuSeconds = 0
  #wireBytes = 0
  #gcMsBefore = 0

  constructor() {
    for (const name of ['net.client.socket', 'net.server.socket']) subscribe(name, this.#onSocket)
    new PerformanceObserver(list => {
      for (const { duration } of list.getEntries()) this.#gcMs += duration
    }).observe({ entryTypes: ['gc'] })
    this.#delay.enable()
  }

  take(): Reading {
    const { user, system } = process.cpuUsage()
    const cpuSeconds = (user + system) / 1e6
    let wireBytes = this.#closedBytes
    for (const { bytesWritten } of this.#open) wireBytes += bytesWritten
    const late = (ns: number): number => Math.max(0, ns / 1e6 - RESOLUTION_MS)
    const reading = {
      cpuSeconds: cpuSeconds - this.#cpuSeconds,
      wireBytes: wireBytes - this.#wireBytes,
      gcMs: this.#gcMs - this.#gcMsBefore,
      lateP99Ms: late(this.#delay.percentile(99)),
      lateMaxMs: late(this.#delay.max),
      rssBytes: process.memoryUsage.rss()
    }
    this.#cpuSeconds = cpuSeconds
    this.#wireBytes = wireBytes
    this.#gcMsBefore = this.#gcMs
    this.#delay.reset()
    return reading
  }

  readonly #onSocket = (message: unknown): void => {
    const { socket } = message as { socket: Socket }
    this.#open.add(socket)
    socket.once('close', () => {
      this.#open.delete(socket)
      this.#closedBytes += socket.bytesWritten
    })
  }
}
