import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/** A port at which nobody listens now: whoever takes it may be too late, and should not mind which it is. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
