// Sessions that every process of an app shares: node:http in front, kilovolt behind, no Redis beside.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createNode, type Keyspace, type Node } from 'kilovolt'

interface Session {
  readonly visits: number
}

async function serve(sessions: Keyspace<Session>, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const id = /sid=([\w-]+)/u.exec(request.headers.cookie ?? '')?.[1] ?? randomUUID()
  const visits = ((await sessions.get(id))?.visits ?? 0) + 1
  await sessions.put(id, { visits })
  response.setHeader('set-cookie', `sid=${id}; HttpOnly`)
  response.end(`visit ${visits}\n`)
}

async function startApp(node: Node): Promise<Server> {
  const sessions = node.keyspace<Session>('sessions')
  const server = createServer((request, response) => {
    serve(sessions, request, response).catch((error: unknown) => {
      response.statusCode = 503
      response.end(`${String(error)}\n`)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

// Two instances of the app, as two processes would be; a visitor's session follows it from one to the other.
const nodes = [await createNode()]
nodes.push(await createNode({ bootstrap: nodes[0]!.addresses }))
const servers = await Promise.all(nodes.map(startApp))

let cookie = ''
for (const server of [...servers, ...servers]) {
  const { port } = server.address() as AddressInfo
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { cookie } })
  cookie = response.headers.get('set-cookie') ?? cookie
  console.log(
    `port ${port === (servers[0]!.address() as AddressInfo).port ? 'one' : 'two'}:`,
    (await response.text()).trim()
  )
}

for (const server of servers) server.close().closeAllConnections()
await Promise.all(nodes.map(node => node.stop()))
