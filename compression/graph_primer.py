"""What the statistics of the graph section begin with: part of the file format.

A stream of symbols without a primer that holds a few common networks. It never changes;
tests/compression/golden/make_primer.py wrote it.
"""

from base64 import b85decode

PRIMER = b85decode(
    b"G=ijQMjWM${Uxa1xzO-{D%q4f!$8Z8vSIOI8RC(ZK5iwrh*QF+Au${0d?4%>`zBi@Bn>E_<KGVmY"
    b"6tJ1LYuMssPCElQG>76kxZRdQ%`Vt>?u)H;Dl~z3%=Imu`+F^kqPPFh?^1n6XO8F2vr!woo70O*8"
    b"<14aNKsOpJkjMzV$^ufBiE0584l?J}}84iR-j>LE4R?o{)}2+J>zyn5GBGc^i!!)AWASKL8Uk+3I"
    b"&X18g(<s-~<hIu@)Irk3-8ZjU{TJW*K*3i0Y0kmp$AgzU!p_8>V|*^fT!Bt=Iuz;zA;9=vL{N>M~"
    b"5D8DPJwpZs83#1Qe-O?R#{34rZqF9#Y{rcqL!(CV5{(iP#SCC<Sn0uLhz<Nx-|5u<4WK|`@q6VH4"
    b"^q;1c46ai4ze4Rags?oXlp$7q5-_tvHx#|#5V@!6is9Hg4CJ`K)UiTR!<JQ;fe%vJnhSflElR<){"
    b"l$gUSOgU}x%gl=qXkWpN|oqWL<XN+?&LQ@WzBQ-gB~nl^P0B^k|Bh75D_KU;xF7RJyxwZJX|C50l"
    b"7xAZE|93z`cM%dHl#i<ss+tbsGO1e{i?x{|KYX=B*$3{d8XAu)s>0gMB1)`m$Hk%%cyOITX!#(ys"
    b"NwZs!K-NBZ?G`_F>+wO>?;di@4qUARsfGL_JHs9O};1RRmAmR{c%1!XmGUd}+i?-sp2AJ9ay!iIy"
    b"LnY$K60S(MN)Q#-dc%QVAFxEfNrJ>KGmq+tG=xntdk9#zp2oep4C}Z3e$JR0_Q0Bz9CGv>eA5~qG"
    b"^9o%i`Up_M0c3>A3~R=cYMl1X@F2_R2f9}1a{KqFWZ)uPr|67_@qs!A(60e7eGFkdt1X9_n`mIXZ"
    b"B(N<U5qA<<#;1qcdtvJDE>78ud1xy*8t>!qU~1m6pWtTzcOJx*o9(b^hbdMqa7w8y{7F>o?={XB4"
    b"YFByq|-c@%N^aM(~$r)6w7(x>M6Q?5MYI_|}zU0qI>BhuZk-jibQ$A3f1`l*r!gy}R$z92JH"
)
