import net from 'node:net'

/** Ports to which this process connects by another way. */
const detours = new Map<number, number>()

/**
 * Sends connections that this process opens to some ports of this machine through others, where somebody may cut them. To
 * be called before anything connects: libp2p takes `net.connect` from the same object.
 */
export function detour(ports: Readonly<Record<number, number>>): void {
  if (detours.size === 0) {
    const direct = net.connect.bind(net) as (options: net.NetConnectOpts, listener?: () => void) => net.Socket
    const redirected = (options: net.NetConnectOpts, listener?: () => void): net.Socket => {
      const port = 'port' in options ? detours.get(options.port) : undefined
      return direct(port === undefined ? options : { ...options, port }, listener)
    }
    Object.assign(net, { connect: redirected })
  }
  for (const [from, to] of Object.entries(ports)) detours.set(Number(from), to)
}
