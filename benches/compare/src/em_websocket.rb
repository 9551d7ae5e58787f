# em-websocket on EventMachine, plain or over TLS.
#
#     ruby em_websocket.rb [--listen ADDR] [--tls-cert FILE --tls-key FILE] [--broadcast]

require "em-websocket"
require "optparse"

def refuse(reason)
  warn reason
  exit 2
end

options = { listen: "127.0.0.1:0", broadcast: false }
refuse_deflate = proc { refuse "em-websocket does not compress" }
begin
  OptionParser.new do |parser|
    parser.on("--listen ADDR") { |address| options[:listen] = address }
    parser.on("--tls-cert FILE") { |file| options[:certificate] = file }
    parser.on("--tls-key FILE") { |file| options[:key] = file }
    parser.on("--broadcast") { options[:broadcast] = true }
    parser.on("--deflate", &refuse_deflate)
    parser.on("--deflate-shared", &refuse_deflate)
    parser.on("--deflate-level N", &refuse_deflate)
  end.parse!
rescue OptionParser::ParseError => error
  refuse error.message
end
secure = options.key?(:certificate)
refuse "--tls-cert and --tls-key go together" if secure != options.key?(:key)

host, _, port = options[:listen].rpartition(":")
settings = { host: host, port: port.to_i, secure: secure }
settings[:tls_options] = { private_key_file: options[:key], cert_chain_file: options[:certificate] } if secure
# The limit includes the frame header.
EM::WebSocket.max_frame_size = 64 * 1024 * 1024 + 14
EM.epoll
EM.set_descriptor_table_size(20_000) rescue nil

EM.run do
  open = {}
  # EventMachine sets TCP_NODELAY itself.
  server = EM::WebSocket.run(settings) do |socket|
    socket.onopen { open[socket] = true }
    socket.onclose { open.delete(socket) }
    # The library closes the connection on any error, and without this callback raises errors of the handlers.
    socket.onerror {}
    if options[:broadcast]
      socket.onmessage { |text| open.each_key { |other| other.send_text(text) } }
      socket.onbinary { |bytes| open.each_key { |other| other.send_binary(bytes) } }
    else
      socket.onmessage { |text| socket.send_text(text) }
      socket.onbinary { |bytes| socket.send_binary(bytes) }
    end
  end
  bound, = Socket.unpack_sockaddr_in(EM.get_sockname(server))
  warn "listening on #{secure ? 'wss' : 'ws'}://#{host}:#{bound}"
end
