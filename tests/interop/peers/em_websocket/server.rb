# An echo server on Debian's em-websocket. Started by compare.py and by ../client/peer.py.
#
#     ruby server.rb PORT [secure_proxy]

require 'em-websocket'

EM.run do
  EM::WebSocket.run(host: '127.0.0.1', port: Integer(ARGV[0]), secure_proxy: ARGV[1] == 'secure_proxy') do |ws|
    ws.onmessage { |text| ws.send(text) }
    ws.onbinary { |bytes| ws.send_binary(bytes) }
    ws.onerror { |_| }
  end
  puts 'listening'
  $stdout.flush
end
